"""A text of its own in every column that holds identity, health, free text or a secret: none of
them leaves by push, SMS or e-mail, or appears in jobs, logs, metrics and errors.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from prometheus_client import generate_latest
from sqlalchemy import CheckConstraint, Column, Table, make_url
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import LargeBinary, Text

import app.worker
from app import main
from app.adapters.fcm import FcmProvider
from app.adapters.jpush import JPushProvider
from app.adapters.jpush_sandbox import create_sandbox
from app.adapters.push import TokenBucket
from app.adapters.senders import Senders
from app.adapters.smtp import Server, SmtpProvider
from app.columns import Holds
from app.config import Settings
from app.db import Database
from app.events import Events
from app.graphql import executor, masking
from app.graphql.executor.plan import CoercionFailed
from app.graphql.params import Params
from app.jobs import queue
from app.nudges import gate
from app.observability import REGISTRY, configure_logging
from app.tables import metadata
from tests import database
from tests.factories import NOON, context
from tests.fcm_server import running_sandbox, serving
from tests.foreign_world import DOCUMENTS, SCHEMA, World, make_world
from tests.nudges import make_phone, rows, run
from tests.nudging import EVENING, LONG_AGO, agree
from tests.schema_walk import Asker
from tests.sms_gateway import running_gateway
from tests.smtp_server import running_smtp
from tests.test_one_gate import tell

SENSITIVE = {Holds.IDENTITY, Holds.HEALTH, Holds.FREE_TEXT, Holds.SECRET}
CANARY = re.compile(r"canary\d{4}")
NUMBER = "271.828"
EVERYWHERE = (gate.Channel.PUSH, gate.Channel.IN_APP, gate.Channel.SMS, gate.Channel.EMAIL)
JOBS = ("nudges.", "campaigns.", "alerts.", "members.", "health_tasks.", "points.", "worklist.")
app.worker.import_jobs()


# Columns


def _words(table: Table) -> set[str]:
    """Columns that hold one of a few words of ours."""
    checks = [str(it.sqltext) for it in table.constraints if isinstance(it, CheckConstraint)]
    found = (re.fullmatch(r"(\w+)( is null or \1)? in \(.*\)", it, re.DOTALL) for it in checks)
    return {it[1] for it in found if it}


def _sensitive() -> Iterator[tuple[Table, "Column[Any]"]]:
    for table in metadata.sorted_tables:
        for column in table.columns:
            if column.info["class"] in SENSITIVE:
                yield table, column


CODED = {
    ("alerts", "code"), ("alerts", "rule"), ("alerts", "closed_reason"),
    ("daily_total_days", "code"), ("daily_totals", "code"), ("measurement_streams", "code"),
    ("measurements", "code"), ("measurements", "context"), ("messages", "template"),
    ("members", "sex"), ("members", "income_band"), ("members", "occupation"),
    ("members", "residence"), ("mild_condition_cases", "condition"),
    ("mild_condition_cases", "clinical_class"), ("pauses", "reason"), ("reminders", "kind"),
    ("risk_assessments", "tier"), ("risk_profiles", "tier"), ("tasks", "state"),
    ("underwritings", "tier"), ("underwritings", "conditions"), ("underwritings", "waits_for"),
    ("underwritings", "findings"), ("medications", "times"),
}  # fmt: skip
"""They hold one of some words of ours, which the code reads."""
ADDRESSES = {
    ("members", "phone"): "+8613719371937",
    ("members", "email"): "canary7193@example.com",
    ("push_tokens", "token"): None,
    ("member_sign_ins", "issuer"): None,
    ("member_sign_ins", "subject"): None,
    ("staff_sign_ins", "issuer"): None,
    ("staff_sign_ins", "subject"): None,
}
"""Where a message goes, which its provider is told, and by whom it is asked."""


def _value(column: "Column[Any]", canary: str) -> str | None:
    """SQL; None for a column that no text fits into."""
    if isinstance(column.type, JSONB):
        return (
            f"case jsonb_typeof({column.name}) when 'object' then {column.name} ||"
            f" jsonb_build_object('{canary}', '{canary}') when 'array' then {column.name} ||"
            f" to_jsonb('{canary}'::text) else to_jsonb('{canary}'::text) end"
        )
    if isinstance(column.type, ARRAY):
        return f"array_append({column.name}, '{canary}')"
    if isinstance(column.type, Text):
        return f"'{canary}'"
    if isinstance(column.type, LargeBinary):
        return f"convert_to('{canary}', 'UTF8')"
    return None


async def plant(server: database.TestServer, name: str) -> dict[str, str]:
    """Fill the columns; canary to column. Where a table has no row it gets one, and neither
    checks nor references are in the way."""
    url = make_url(server._superuser_url).set(database=name)
    owner = await asyncpg.connect(url.render_as_string(hide_password=False))
    planted: dict[str, str] = {}
    try:
        await owner.execute("set session_replication_role = replica")
        for table in metadata.sorted_tables:
            for check in table.constraints:
                if isinstance(check, CheckConstraint):
                    drop = f"alter table {table.name} drop constraint if exists {check.name}"
                    await owner.execute(drop)
        for number, (table, column) in enumerate(_sensitive()):
            key = (table.name, column.name)
            value = _value(column, canary := f"canary{number:04}")
            if key in CODED or key in ADDRESSES or column.name in _words(table):
                continue
            if value is None:
                continue
            if not await owner.fetchval(f"select count(*) from {table.name}"):
                await owner.execute(_row(table))
            await owner.execute(f"update {table.name} set {column.name} = {value}")
            planted[canary] = f"{table.name}.{column.name}"
        for table, column in _sensitive():
            if str(column.type).startswith("NUMERIC(12") and table.name not in ("tasks",):
                await owner.execute(f"update {table.name} set {column.name} = {NUMBER}")
        await owner.execute("update push_tokens set stale_since = null")
    finally:
        await owner.close()
    return planted


def _row(table: Table) -> str:
    """Any row of a table, with whatever fits into its columns."""
    made = {
        "CHAR": "gen_random_uuid()", "TEXT": "'x'", "INTEGER": "1", "BIGINT": "1",
        "BOOLEAN": "true", "DATE": "'2026-03-02'", "TIME": "'12:00'", "JSONB": "'{}'",
        "ARRAY": "'{}'", "BLOB": "'x'", "DATETIME": "'2026-03-02'", "UUID": "gen_random_uuid()",
    }  # fmt: skip
    wanted = [it for it in table.columns if not it.nullable and it.server_default is None]
    values = [
        "0" if str(it.type).startswith("NUMERIC") else made[str(it.type).split("(")[0]]
        for it in wanted
    ]
    names = ", ".join(it.name for it in wanted)
    return f"insert into {table.name} ({names}) values ({', '.join(values)})"


# The outside world


class Outside:
    """Every provider, over real sockets, and all that they were told."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        bucket = TokenBucket(per_minute=540_000)
        self.fcm = stack.enter_context(running_sandbox(folder))
        jpush = create_sandbox("key", "secret")
        self.jpush = jpush.state.sandbox
        self.sms = stack.enter_context(running_gateway())
        self.mail = stack.enter_context(running_smtp())
        self.providers = Senders(
            [
                FcmProvider(
                    credentials_path=self.fcm.credentials,
                    base_url=self.fcm.url,
                    concurrency=5,
                    bucket=bucket,
                ),
                JPushProvider(
                    app_key="key",
                    master_secret="secret",
                    base_url=stack.enter_context(serving(jpush)),
                    concurrency=5,
                    bucket=bucket,
                ),
                self.sms.provider(),
                SmtpProvider(
                    Server("127.0.0.1", self.mail.port, "off"), sender="no-reply@wellward.example"
                ),
            ]
        )

    def said(self) -> dict[str, list[str]]:
        """By channel, without the addresses."""
        mails = [mail.decode() for _, _, mail in self.mail.mails]
        return {
            "push": [str({**it["message"], "token": None}) for it in self.fcm.messages()],
            "jpush": [str({**it, "audience": None}) for it in self.jpush.pushes],
            "sms": [str({**it, "to": None}) for it in self.sms.taken],
            "mail": [re.sub(r"(?m)^To: .*$", "", mail) for mail in mails],
        }


@pytest_asyncio.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    with ExitStack() as stack:
        found = Outside(stack, tmp_path)
        yield found
        await found.providers.close()


@contextmanager
def logging_to(stream: StringIO) -> Iterator[None]:
    """As in production."""
    configure_logging("DEBUG", messages=False, stream=stream)
    try:
        yield
    finally:
        configure_logging("WARNING", messages=True)


async def make_reachable(db: Database, world: World) -> None:
    """By every channel, for every topic; and nobody has been told anything yet."""
    member = world.foreign
    await make_phone(db, member, "ok:7193")
    await make_phone(db, member, "ok:7194", provider="JPUSH")
    await make_phone(db, member, "drop:7195")
    await make_phone(db, member, "invalid:7196")
    await run(
        db,
        "UPDATE members SET phone = :phone, email = :email, phone_verified_at = :now,"
        " email_verified_at = :now WHERE member_id = :id",
        phone=ADDRESSES["members", "phone"],
        email=ADDRESSES["members", "email"],
        now=LONG_AGO,
        id=member,
    )
    for purpose in ("HEALTH_DATA", "DEVICE_DATA", "MARKETING"):
        await agree(db, member, purpose)
    await run(db, "DELETE FROM notification_preferences")
    await run(db, "DELETE FROM pauses")
    await run(db, "UPDATE reminders SET next_at = :now, next_on = :day", now=NOON, day=NOON.date())


async def work(db: Database, outside: Outside, now: datetime) -> None:
    """All that the clock and the queue do for members at `now`."""
    settings = Settings(data_dir=outside.folder)
    at_work = queue.JobContext(
        db, lambda: now, Events("postgresql://unused"), outside.providers, settings
    )
    for name in sorted(queue.HANDLERS):
        if name.startswith(JOBS):
            await queue.attempt(at_work, name, 0, b"{}", attempts=0)
    await queue.run_due(db, at_work, strict=False)


async def spoil(server: database.TestServer, name: str) -> None:
    """From now on whatever writes to such a table fails, and PostgreSQL says why with the whole
    row."""
    url = make_url(server._superuser_url).set(database=name)
    owner = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        for spoilt in {table.name for table, _ in _sensitive()}:
            check = "add constraint spoilt check (false) not valid"
            await owner.execute(f"alter table {spoilt} {check}")
    finally:
        await owner.close()


async def ask_everything(world: World) -> list[Any]:
    """Every field of the API, asked by the member and by their manager; the errors that they
    get."""
    found: list[Any] = []
    for asked_by in world.rightful.values():
        for root in ("Query", "Mutation"):
            for name in SCHEMA.get_type(root).fields:
                asker = Asker(SCHEMA, world.values, 2)
                try:
                    body, sent = asker.ask(((root, name),), ())
                    values = asker.variables(((root, name),), sent, (), "")
                except KeyError:  # nobody has said what to ask for
                    continue
                plan = DOCUMENTS.find(Params(body, None, None, {})).plan
                asking = context(asked_by.db, asked_by.viewer)
                try:
                    answer = await executor.execute(plan, variables=values, context=asking)
                    found += masking.formatted(answer.errors or (), correlation_id=name)
                except CoercionFailed as failed:
                    found += masking.coercion_errors(failed.errors)
    return found


def found_in(said: object) -> set[str]:
    return set(CANARY.findall(str(said))) | ({NUMBER} if NUMBER in str(said) else set())


@pytest.mark.timeout(300)
async def test_no_canary_leaves(
    server: database.TestServer, database_name: str, db: Database, outside: Outside
) -> None:
    world = await make_world(db)
    await make_reachable(db, world)
    planted = await plant(server, database_name)
    assert_complete(planted)
    log = StringIO()
    with logging_to(log):
        await tell(db, world.foreign, channels=EVERYWHERE, title="canary0000", body="canary0000")
        jobs = await rows(db, "SELECT convert_from(payload, 'UTF8') FROM pgqueuer")
        for now in (NOON, EVENING, NOON + timedelta(days=1)):
            await work(db, outside, now)
        await spoil(server, database_name)
        errors = await ask_everything(world)
        await work(db, outside, EVENING + timedelta(days=1))
        await main._refresh(db, lambda: EVENING)()
    said: dict[str, Sequence[Any]] = {
        **outside.said(),
        "log": log.getvalue().splitlines(),
        "errors": errors,
        "metrics": generate_latest(REGISTRY).decode().splitlines(),
        "jobs": jobs,
    }
    assert min(len(heard) for heard in said.values()) > 0, {it: len(said[it]) for it in said}
    said["kept of jobs"] = await rows(db, "SELECT traceback FROM pgqueuer_log")
    assert "CheckViolation" in str(said["log"]) and "INTERNAL" in str(errors)
    for name, heard in said.items():
        assert {planted.get(it, it) for it in found_in(heard)} == set(), name


def assert_complete(planted: Mapping[str, str]) -> None:
    """Every sensitive column holds a canary, but those that are named above."""
    words = {f"{table.name}.{name}" for table in metadata.sorted_tables for name in _words(table)}
    named = {".".join(it) for it in (*CODED, *ADDRESSES)} | words
    texts = Text | JSONB | ARRAY | LargeBinary
    known = {
        f"{it.name}.{column.name}" for it, column in _sensitive() if isinstance(column.type, texts)
    }
    assert known - set(planted.values()) <= named
    assert len(planted) >= 50
