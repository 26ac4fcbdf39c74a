"""The wired web process, on a real database and with real tokens."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from app import main
from app.adapters import local_issuer
from app.config import Mode, Settings
from app.db import Database
from app.errors import ConfigurationError
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.members.models import Guardianship, Member, MemberSignIn
from tests.toy_server import Toy, run_app

NOW = datetime.now(UTC)  # noqa: TID251 - tokens end by the real clock
ME = "{ me { id displayName } }"


@pytest.fixture
def issuer(tmp_path: Path) -> local_issuer.LocalIssuer:
    return local_issuer.LocalIssuer(tmp_path)


@pytest.fixture
def site(database_url: str, tmp_path: Path, issuer: local_issuer.LocalIssuer) -> Iterator[Toy]:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    with run_app(main.create_app(settings)) as site:
        yield site


async def make_member(db: Database, login: str) -> Member:
    member = Member(
        member_id=uuid4(),
        display_name=login,
        birth_date=date(1980, 1, 1),
        sex="FEMALE",
        time_zone="Asia/Shanghai",
        locale="en",
        created_at=NOW,
    )
    sign_in = MemberSignIn(
        issuer=local_issuer.ISSUER,
        subject=f"member:{login}",
        member_id=member.member_id,
        login=login,
    )
    async with db.transaction() as session:
        session.add(member)
        await session.flush()
        session.add(sign_in)
    return member


async def ask(site: Toy, query: str, token: str | None = None, **headers: str) -> httpx.Response:
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient() as client:
        return await client.post(site.url, json={"query": query}, headers=headers)


async def get(site: Toy, path: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(site.base + path)


async def test_a_member_signs_in_and_is_me(
    db: Database, site: Toy, issuer: local_issuer.LocalIssuer
) -> None:
    member = await make_member(db, "li")
    response = await ask(site, ME, issuer.mint("member:li", now=NOW))
    me = {"id": encode(Kind.MEMBER, member.member_id), "displayName": "li"}
    assert (response.status_code, response.json()) == (200, {"data": {"me": me}})


async def test_nobody_and_strangers_are_anonymous(
    site: Toy, issuer: local_issuer.LocalIssuer
) -> None:
    for token in (None, issuer.mint("member:stranger", now=NOW)):
        assert (await ask(site, "{ __typename }", token)).json() == {
            "data": {"__typename": "Query"}
        }
        [error] = (await ask(site, ME, token)).json()["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"


async def test_an_expired_or_forged_token_is_401(
    site: Toy, issuer: local_issuer.LocalIssuer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = local_issuer.LocalIssuer(tmp_path / "other")
    good = issuer.mint("member:li", now=NOW)
    for token in (
        issuer.mint("member:li", now=NOW - timedelta(days=2), lifetime=timedelta(hours=1)),
        other.mint("member:li", now=NOW),
        good[:-4] + "AAAA",
        "not.a.token",
    ):
        response = await ask(site, "{ __typename }", token)
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["www-authenticate"]
        assert token not in response.text


async def test_a_guardian_acts_for_their_child_and_for_nobody_else(
    db: Database, site: Toy, issuer: local_issuer.LocalIssuer
) -> None:
    guardian, child = await make_member(db, "guardian"), await make_member(db, "child")
    other = await make_member(db, "other")
    async with db.transaction() as session:
        session.add(
            Guardianship(
                member_id=child.member_id,
                guardian_id=guardian.member_id,
                consented_at=NOW,
            )
        )
    token = issuer.mint("member:guardian", now=NOW)
    acting = {"x-acting-for": encode(Kind.MEMBER, child.member_id)}
    assert (await ask(site, ME, token, **acting)).json()["data"]["me"]["displayName"] == "child"
    for named in (
        encode(Kind.MEMBER, other.member_id),
        encode(Kind.MEMBER, uuid4()),
        encode(Kind.STAFF, child.member_id),
        "nonsense",
    ):
        response = await ask(site, ME, token, **{"x-acting-for": named})
        assert response.status_code == 403
        assert response.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_ready_says_what_is_missing(db: Database, owner_url: str, site: Toy) -> None:
    response = await get(site, "/readyz")
    ready = {"status": "ok", "database": "ok", "migrations": "ok", "queue": "ok"}
    assert (response.status_code, response.json()) == (200, ready)
    owner = Database.open(owner_url)
    async with owner.write() as connection:
        await connection.exec_driver_sql("delete from alembic_version")
        await connection.exec_driver_sql("drop table pgqueuer cascade")
    await owner.close()
    response = await get(site, "/readyz")
    assert response.status_code == 503
    assert response.json() == {
        **ready,
        "status": "unavailable",
        "migrations": "failed",
        "queue": "failed",
    }
    assert (await get(site, "/healthz")).status_code == 200


async def test_metrics_show_the_pool(site: Toy) -> None:
    await ask(site, ME)
    shown = (await get(site, "/metrics")).text
    assert 'wellward_pool_connections{pool="read",state="in_use"}' in shown
    assert "wellward_pushes" in shown and "wellward_queue_jobs" in shown


async def test_metrics_show_a_clock_that_is_silent_and_jobs_that_are_late(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    async def gauges() -> dict[str, float]:
        """Asked of a process of its own: one process asks the database rarely."""
        settings = Settings(data_dir=tmp_path, database_url=database_url)
        with run_app(main.create_app(settings, now=lambda: NOW)) as site:
            lines = (await get(site, "/metrics")).text.splitlines()
        shown = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        names = ("wellward_clock_silent_seconds", "wellward_queue_late_seconds")
        return {name: float(shown[name]) for name in names}

    before = await gauges()
    async with db.write() as connection:
        await connection.execute(
            text("insert into clock_slots values ('nudges.plan', :slot)"),
            {"slot": NOW - timedelta(seconds=40)},
        )
    async with db.transaction() as session:
        later, due = NOW + timedelta(hours=1), NOW - timedelta(seconds=90)
        await queue.enqueue(session, "toys.later", {}, run_at=later, now=NOW)
        await queue.enqueue(session, "toys.due", {}, run_at=due, now=NOW)
    after = await gauges()

    assert list(before.values()) == [float("inf"), 0]
    assert list(after.values()) == [40, 90]


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="WELLWARD_DATABASE_URL"):
        main.create_app(Settings(data_dir=tmp_path))


async def test_production_has_no_pages_and_no_free_documents(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings(mode=Mode.PRODUCTION, data_dir=tmp_path, database_url=database_url)
    with run_app(main.create_app(settings)) as site:
        assert (await get(site, "/graphiql")).status_code == 404
        [error] = (await ask(site, "{ __typename }")).json()["errors"]
        assert error["extensions"]["code"] == "PERSISTED_QUERY_ONLY"
        assert (await get(site, "/readyz")).status_code == 200
