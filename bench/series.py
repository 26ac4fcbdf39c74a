"""The requests of a run, as they go over the wire."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any
from uuid import UUID, uuid4

import orjson

from app.demo.bulk import BulkMember
from app.graphql.documents import TrustedDocuments
from app.graphql.ids import Kind, encode
from app.main import OPERATIONS
from bench.load import FRESH_ID, NOBODY

EXPECTS = {
    "Home": '"dueAt"',
    "PointsHistory": '"hasNextPage" ?: ?true',
    "Premium": '"asOf"',
    "CheckIn": '"replayed" ?: ?false',
    "RecordMeasurements": '"accepted" ?: ?500,',
}
"""What every answer matches of a server that did its work."""
READINGS_A_REQUEST = 500
CODES = (
    ("SYSTOLIC_BP", 1220, 80, "mm[Hg]"),
    ("DIASTOLIC_BP", 780, 60, "mm[Hg]"),
    ("WEIGHT", 705, 9, "kg"),
    ("BODY_TEMPERATURE", 366, 4, "Cel"),
    ("RESTING_HEART_RATE", 610, 50, "/min"),
)
"""What is sent: around which tenths, how far from them at most, in which unit."""

Tick = tuple[UUID, UUID, date]
"""Member, assignment, first day: a task that one tick finishes."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: to the product, and the same to the raw handler."""

    member_id: UUID
    variables: Mapping[str, Any]
    raw_variables: Mapping[str, Any]


def reads(members: Sequence[BulkMember]) -> list[Sent]:
    return [Sent(it.member_id, {}, {}) for it in members]


def check_ins(ticks: Sequence[Tick], now: datetime) -> list[Sent]:
    """The product gets an id of each; at the raw handler a task may be ticked again and again."""
    found = []
    for member_id, assignment_id, starts_on in ticks:
        common = {"occurredAt": now.isoformat()}
        task_id = encode(Kind.TASK, member_id, assignment_id, starts_on)
        of_product = {**common, "requestId": str(uuid4()), "taskId": task_id}
        of_raw = {**common, "requestId": FRESH_ID, "taskId": str(assignment_id)}
        found.append(Sent(member_id, {"input": of_product}, {"input": of_raw}))
    # Not one member after the other, but within what one window sends.
    rng = Random(1)
    for start in range(0, len(found), _MIXED):
        part = found[start : start + _MIXED]
        rng.shuffle(part)
        found[start : start + _MIXED] = part
    return found


_MIXED = 1000


def readings(members: Sequence[BulkMember], now: datetime) -> list[Sent]:
    """Each request names another source, so that all of it is new."""
    dice = Random(2)
    sent = [
        {
            "code": code,
            "value": str(Decimal(middle + dice.randint(-spread, spread)) / 10),
            "unit": unit,
            "measuredAt": (now - timedelta(minutes=3 * n)).isoformat(),
            "sourceId": FRESH_ID,
            "method": "SENSED",
        }
        for n in range(READINGS_A_REQUEST // len(CODES))
        for code, middle, spread, unit in CODES
    ]
    variables = {"input": {"requestId": FRESH_ID, "measurements": sent}}
    return [Sent(it.member_id, variables, variables) for it in members]


def to_product(operation: str, sent: Sent, token: str) -> str:
    persisted = {"version": 1, "sha256Hash": document_id(operation)}
    body = {
        "operationName": operation,
        "variables": sent.variables,
        "extensions": {"persistedQuery": persisted},
    }
    return request({"authorization": f"Bearer {token}"}, body)


def shared_body(requests: Iterable[str]) -> tuple[list[str], str]:
    """What they begin with, and the body that is the same in all of them."""
    heads, bodies = [], set()
    for it in requests:
        head, end, body = it.partition("\r\n\r\n")
        heads.append(head + end)
        bodies.add(body)
    [body] = bodies
    return heads, body


def greeting() -> str:
    """Somebody opens the first screen."""
    header, _, value = NOBODY.partition(": ")
    persisted = {"version": 1, "sha256Hash": document_id("Home")}
    body = {"operationName": "Home", "extensions": {"persistedQuery": persisted}}
    return request({header: value}, body)


def to_raw(operation: str, sent: Sent) -> str:
    body = {"operationName": operation, "variables": sent.raw_variables}
    return request({"x-member": str(sent.member_id)}, body)


@cache
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
