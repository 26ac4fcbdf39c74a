"""The requests of a run, as they go over the wire."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import orjson

from app.demo.bulk import BulkMember
from app.graphql.documents import TrustedDocuments
from app.graphql.ids import Kind, encode
from app.main import OPERATIONS
from bench.load import FRESH_ID, Series
from bench.servers import Server

EXPECTS = {
    "Home": '"tasksToday":[{',
    "PointsHistory": '"hasNextPage":true',
    "CheckIn": '"replayed":false',
}
"""What every answer holds of a server that did its work."""
_RAW_EXPECTS = {
    "Home": '"tasksToday" : [{',
    "PointsHistory": '"hasNextPage" : true',
    "CheckIn": '"replayed":false',
}


def make(
    operation: str,
    product: Server,
    raw: Server,
    tokens: Mapping[UUID, str],
    members: Sequence[BulkMember],
    readers: int,
    now: datetime,
) -> dict[str, Series]:
    """The two series of an operation, by name. Reads come from the first `readers` members in
    turn; check-ins are of all tasks that a tick finishes, each once."""
    sent: list[tuple[UUID, dict[str, Any], dict[str, Any]]]
    if operation == "CheckIn":
        sent = _check_ins(members, now)
    else:
        sent = [(member.member_id, {}, {}) for member in members[:readers]]
    id = document_id(operation)
    of_product = [
        request(
            {"authorization": f"Bearer {tokens[member_id]}"},
            {
                "operationName": operation,
                "variables": variables,
                "extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}},
            },
        )
        for member_id, variables, _ in sent
    ]
    of_raw = [
        request({"x-member": str(member_id)}, {"operationName": operation, "variables": variables})
        for member_id, _, variables in sent
    ]
    once = operation == "CheckIn"  # The raw handler's tasks may be ticked any number of times.
    return {
        f"{operation}/wellward": Series(
            product.port, product.pid, of_product, EXPECTS[operation], once
        ),
        f"{operation}/raw": Series(raw.port, raw.pid, of_raw, _RAW_EXPECTS[operation], once=False),
    }


def _check_ins(
    members: Sequence[BulkMember], now: datetime
) -> list[tuple[UUID, dict[str, Any], dict[str, Any]]]:
    rng = Random(1)
    found = []
    for member in members:
        for assignment_id, starts_on in member.ticks:
            request_id = str(UUID(int=rng.getrandbits(128), version=4))
            common = {"occurredAt": now.isoformat()}
            task_id = encode(Kind.TASK, member.member_id, assignment_id, starts_on)
            found.append(
                (
                    member.member_id,
                    {"input": {**common, "requestId": request_id, "taskId": task_id}},
                    {"input": {**common, "requestId": FRESH_ID, "taskId": str(assignment_id)}},
                )
            )
    # A phone sends several in a row: so its sign-in is looked up once for them.
    for start in range(0, len(found), _IN_A_ROW):
        part = found[start : start + _IN_A_ROW]
        rng.shuffle(part)
        found[start : start + _IN_A_ROW] = part
    return found


_IN_A_ROW = 1000


def document_id(operation: str) -> str:
    """Of its form without `__typename` in every selection: the raw handler sends none."""
    found = [it for it in TrustedDocuments.load(OPERATIONS).by_id.values() if it.name == operation]
    return min(found, key=lambda it: len(it.body)).id


def request(headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    content = orjson.dumps(body).decode()
    lines = [
        "POST /graphql HTTP/1.1",
        "host: 127.0.0.1",
        "accept: application/graphql-response+json, application/json",
        "content-type: application/json",
        f"content-length: {len(content.encode())}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + content
