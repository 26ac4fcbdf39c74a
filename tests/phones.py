"""Members with a policy, and their phones: HTTP clients that send the app's own documents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from app.adapters import local_issuer
from app.db import Database
from app.members.models import MemberSignIn
from app.premiums import service as premiums
from tests.factories import make_member

OPERATIONS = Path(__file__).parent.parent / "schema" / "operations" / "app"
DOCUMENTS = {path.stem: path.read_text("utf-8") for path in OPERATIONS.glob("*.graphql")}
ENROLLED_DAYS_AGO = 2


def wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - web processes go by the real clock


@dataclass
class Answer:
    """What came back for one request."""

    status: int
    body: dict[str, Any]

    @property
    def result(self) -> dict[str, Any] | None:
        """Of a mutation's only field; None when the request failed."""
        if self.status != 200 or "errors" in self.body:
            return None
        [result] = self.body["data"].values()
        assert isinstance(result, dict)
        return result


@dataclass
class Phone:
    """One member's app. `base` is the address of a web process."""

    http: aiohttp.ClientSession
    base: str
    member_id: UUID
    token: str

    async def send(
        self, operation: str, variables: dict[str, Any], base: str | None = None
    ) -> Answer:
        """One document of schema/operations/app, by its name."""
        async with self.http.post(
            f"{base or self.base}/graphql",
            json={"query": DOCUMENTS[operation], "variables": variables},
            headers={"authorization": f"Bearer {self.token}"},
        ) as response:
            return Answer(response.status, await response.json())

    async def tasks(self) -> dict[str, dict[str, Any]]:
        """Those of today that a tick completes, by title."""
        answer = await self.send("Home", {})
        assert (answer.status, answer.body.get("errors")) == (200, None)
        tasks = answer.body["data"]["me"]["tasksToday"]
        return {task["title"]: task for task in tasks if task["verification"] == "NONE"}


def check_in_of(task_id: str, *, at: datetime, request_id: UUID | None = None) -> dict[str, Any]:
    """Variables of CheckIn."""
    sent = {"requestId": str(request_id or uuid4()), "taskId": task_id}
    return {"input": sent | {"occurredAt": at.isoformat(), "value": 1}}


@asynccontextmanager
async def http_client() -> AsyncIterator[aiohttp.ClientSession]:
    # Shorter than the server keeps an idle connection: a POST is never sent into a closing one.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        yield http


async def make_phone(
    db: Database, folder: Path, http: aiohttp.ClientSession, base: str, *, login: str
) -> Phone:
    """A member with a policy since the day before yesterday, and a phone that is signed in by
    the local issuer of `folder`."""
    now = wall_clock()
    enrolled_at = now - timedelta(days=ENROLLED_DAYS_AGO)
    member_id = await make_member(db, login=f"other-{login}", now=enrolled_at)
    async with db.transaction() as session:
        session.add(
            MemberSignIn(
                issuer=local_issuer.ISSUER,
                subject=f"member:{login}",
                member_id=member_id,
                login=login,
            )
        )
        await premiums.enrol(
            session,
            member_id=member_id,
            product_code="starter",
            starts_on=enrolled_at.date(),
            now=enrolled_at,
        )
    token = local_issuer.LocalIssuer(folder).mint(f"member:{login}", now=now)
    return Phone(http, base, member_id, token)
