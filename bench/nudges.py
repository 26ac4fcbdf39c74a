"""`python -m bench.nudges`: planning for everybody, pushes, and what the gate costs.

Planning: a policy's INSERT ... SELECT for all members, in its ranges and with its bookkeeping,
against two bare ones into a table with the same indexes, in turn, in one run: one statement with
the same question about the audience, and one that only copies the rows that the policy made, in
the same ranges. What a policy asks cannot be had for nothing: the second tells what asking costs,
the first what we add. Pushes: our provider and the firebase-admin SDK send the same messages to the
same loopback server in another process; CPU seconds of the sender are counted, not of the server.
"""

import asyncio
import multiprocessing
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import firebase_admin
import orjson
import typer
import uvicorn
from firebase_admin import credentials, messaging
from rich.console import Console
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from app import collector, worker
from app.adapters import fcm_sandbox
from app.adapters.embedded_postgres import DATABASE, SUPERUSER, EmbeddedPostgres
from app.adapters.fcm import FcmProvider
from app.adapters.push import PushMessage, PushOutcome, TokenBucket
from app.config import Settings
from app.db import Database
from app.members.rules import ConsentState
from app.nudges import asking, gate, nudging, policies
from app.place import Place
from bench.ledger_report import Figure, markdown, table

ROOT = Path(__file__).resolve().parent.parent
DAY = date(2026, 3, 2)
EVENING = datetime(2026, 3, 2, 10, tzinfo=UTC)
"""18:00 in Shanghai, when `steps-short` is asked."""
MORNING = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
"""9:30 there, when `points-expiring` and `renewal` are."""
ASKED, COPIED = "planning ÷ bare, same audience", "planning ÷ bare, a copy"
_LOAD = (
    """insert into members (member_id, display_name, birth_date, sex, time_zone, locale, created_at)
       select id, 'bench', '1980-01-01', 'UNKNOWN', 'Asia/Shanghai', 'zh-CN',
              '2025-01-01' from (select gen_random_uuid() as id
                from generate_series(1, $1::integer) order by 1) ids""",
    """insert into consents (member_id, purpose, version, state, text_version, recorded_at,
              recorded_by)
       select member_id, purpose, 1, 'GRANTED', '1', '2025-01-01', member_id
         from members, unnest(array['HEALTH_DATA', 'DEVICE_DATA']) as purpose
        where $1 > 0 order by member_id""",
    """insert into task_assignments (member_id, id, template_code, template_version, title_zh,
              title_en, kind, period, target, unit, per_day, value_min, value_max, verification,
              data_code, points, expires_after_months, late_data_days, product_version_id,
              rule_code, starts_on, created_at)
       select member_id, member_id, 'walk', 2, '走', 'Walk', 'REACH_TOTAL', 'day', 8000, '{steps}',
              24, 1, 100000, 'NONE', 'STEPS', 10, 12, 30, member_id, 'walk', '2025-01-01',
              '2025-01-01' from members where $1 > 0 order by member_id""",
    """insert into tasks (member_id, assignment_id, starts_on, ends_on, starts_at, due_at, target,
              done, points, state, points_awarded, participated)
       select member_id, member_id, '2026-03-02', '2026-03-02', '2026-03-01 16:00Z',
              '2026-03-02 16:00Z', 8000, 3000, 10, 'OPEN', 0, false
         from members where $1 > 0 order by member_id""",
    """insert into daily_total_days (member_id, id, code, local_date, value, unit, changed_at)
       select member_id, member_id, 'STEPS', '2026-03-02', 3000, '{steps}', '2026-03-02'
         from members where $1 > 0 order by member_id""",
)


def main(
    members: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    pushes: Annotated[int, typer.Option(min=100)] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-nudges.json",
) -> None:
    console = Console(stderr=True, highlight=False)
    load = f"{os.cpu_count()} CPUs"
    figures = [Figure("load of the machine before", os.getloadavg()[0], "", load)]
    collector.spare()  # for both
    figures += _gate()
    figures += _pushes(pushes)
    figures += asyncio.run(_planning(members, rounds, console))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(
        orjson.dumps(
            {"members": members, "markdown": markdown(figures)}, option=orjson.OPT_INDENT_2
        )
    )


# Planning


async def _planning(members: int, rounds: int, console: Console) -> list[Figure]:
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="wellward-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", bin_dir=Settings().pg_bin)
        place = Place("", "", server).start()
        try:
            await place.migrate()
            owner = await asyncpg.connect(server.dsn(DATABASE, SUPERUSER))
            with console.status(f"Loading {members:,} members"):
                for statement in _LOAD:
                    await owner.execute(statement, members)
                await owner.execute("vacuum analyze")
                await owner.execute("create table bare (like planned_messages including all)")
            db = Database.open(place.database_url)
            try:
                for _ in range(rounds):
                    with console.status("Planning"):
                        figures += await _planned(db, owner)
            finally:
                await db.close()
                await owner.close()
        finally:
            server.stop(immediate=True)
    for name in (ASKED, COPIED):
        ratios = sorted(it.value for it in figures if it.name == name)
        figures.append(Figure(f"{name}, median", ratios[len(ratios) // 2]))
    figures.append(Figure("load of the machine after", os.getloadavg()[0]))
    return figures


async def _planned(db: Database, owner: Any) -> list[Figure]:
    """One round: the policy, then the same rows bare, asked for and copied."""
    await owner.execute("truncate planned_messages, nudge_runs, bare")
    await owner.execute("checkpoint")
    await nudging.begin(db, now=EVENING)
    await owner.execute(
        "delete from nudge_runs where source_id <> $1 or planned_for <> $2", _policy().id, EVENING
    )
    policy = await _spent(owner, _plan_all(db))
    planned = await owner.fetchval("select count(*) from planned_messages")
    await owner.execute("vacuum analyze planned_messages")
    await owner.execute("checkpoint")
    asked = await _bare_of_audience(owner)
    copied = await _bare_copy(owner)
    return [
        Figure("planned", planned, "rows", _policy().code),
        _figure("planning of a policy", policy),
        _figure("bare INSERT ... SELECT, same audience", asked),
        _figure("bare INSERT ... SELECT, a copy", copied),
        Figure(ASKED, round(policy.cpu / asked.cpu, 2), "", "by CPU"),
        Figure(COPIED, round(policy.cpu / copied.cpu, 2), "", "by CPU"),
    ]


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds. The server's CPU says the same on a busy machine and on an idle one."""

    wall: float
    cpu: float


def _figure(name: str, spent: Spent) -> Figure:
    return Figure(name, round(spent.cpu, 2), "s of CPU", f"{spent.wall:.1f} s by the clock")


async def _spent(owner: Any, work: Awaitable[object]) -> Spent:
    backend = await owner.fetchval("select pg_backend_pid()")
    server = _parent(f"/proc/{backend}")
    began, before = time.perf_counter(), _cpu_of_children(server)
    await work
    wall, after = time.perf_counter() - began, _cpu_of_children(server)
    return Spent(wall, sum(seconds - before.get(pid, 0) for pid, seconds in after.items()))


def _parent(process: str) -> str:
    return (Path(process) / "stat").read_text().rpartition(")")[2].split()[1]


def _cpu_of_children(server: str) -> dict[str, float]:
    """CPU seconds by process: backends, and whatever writes and vacuums for them."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _parent(str(folder)) == server:
                spent = int((folder / "schedstat").read_text().split()[0])
                found[folder.name] = spent / 1e9
    return found


async def _plan_all(db: Database) -> None:
    while await nudging.plan_range(db, now=EVENING) is not None:
        pass


async def _bare_of_audience(owner: Any) -> Spent:
    """What the policy asks and writes, by hand: one statement for everybody, no ranges,
    no record of the run, nothing that notices what was planned before."""
    policy = _policy()
    statement = asking.plan_statement(policy)
    values = asking.plan_values(policy) | {
        "local_date": DAY,
        "local_day": DAY.isoformat(),
        "zones": ["Asia/Shanghai"],
        "after": UUID(int=0),
        "upto": UUID(int=2**128 - 1),
        "now": EVENING,
        "at": EVENING,
    }
    dialect = asyncpg_dialect()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect)
    assert compiled.positiontup is not None
    assert "insert into planned_messages" in compiled.string
    bare = compiled.string.replace("insert into planned_messages", "insert into bare")
    before, found, recent = bare.partition("and not exists (select from planned_messages")
    assert found, "the policy has no cooldown"
    bare = before + _after_bracket(recent)
    wanted = [values[name] for name in compiled.positiontup]
    async with owner.transaction():
        await owner.execute("set local jit = off; set local work_mem = '64MB'")
        await owner.execute("set local enable_nestloop = off")
        # What was left out still counts as a parameter.
        numbers = sorted({int(it) for it in re.findall(r"\$(\d+)", bare)})
        for place, number in enumerate(numbers, start=1):
            bare = re.sub(rf"\${number}(?!\d)", f"${place}", bare)
        spent = await _spent(
            owner, owner.execute(bare, *(wanted[number - 1] for number in numbers))
        )
    await owner.execute("truncate bare")
    await owner.execute("checkpoint")
    return spent


def _after_bracket(text: str) -> str:
    """What follows the bracket that closes one opened before `text`."""
    depth = 1
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return text[place + 1 :]
    raise AssertionError("a bracket stays open")


async def _bare_copy(owner: Any) -> Spent:
    ends = await owner.fetch(
        "select member_id from (select member_id, row_number() over (order by member_id) as n"
        f" from members) m where n % {nudging.RANGE} = 0 order by 1"
    )
    ranges = [UUID(int=0), *(row[0] for row in ends), UUID(int=2**128 - 1)]

    async def copy() -> None:
        for after, upto in pairwise(ranges):
            await owner.execute(
                "insert into bare select * from planned_messages"
                " where member_id > $1 and member_id <= $2",
                after,
                upto,
            )

    return await _spent(owner, copy())


def _policy() -> policies.Policy:
    return next(it for it in policies.in_force().values() if it.code == "steps-short")


# Pushes


def _pushes(count: int) -> list[Figure]:
    with TemporaryDirectory(prefix="wellward-bench-") as folder:
        path = Path(folder) / "fcm.json"
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fcm_sandbox.write_credentials(path, f"{url}/token")
        ready = multiprocessing.Event()
        server = multiprocessing.Process(target=_serve, args=(path, listener, ready), daemon=True)
        server.start()
        try:
            assert ready.wait(30), "the server did not start"
            with asyncio.Runner(loop_factory=worker.loop_factory()) as runner:
                ours = _cpu(lambda: runner.run(_send(path, url, count)))
            theirs = _cpu(lambda: _send_by_sdk(path, url, count))
        finally:
            server.terminate()
            server.join()
    by_us, by_sdk = count / ours, count / theirs
    return [
        Figure("pushes, our provider", round(by_us), "a core-second", f"{count:,} sent"),
        Figure("pushes, firebase-admin", round(by_sdk), "a core-second", "send_each, 500 a call"),
        Figure("pushes ÷ firebase-admin", round(by_us / by_sdk, 1)),
    ]


def _serve(path: Path, listener: socket.socket, ready: Event) -> None:
    app = fcm_sandbox.create_sandbox(path)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_keep_alive=60))

    # It listens already: what comes first waits.
    ready.set()
    asyncio.run(server.serve(sockets=[listener]))


def _cpu(work: Callable[[], None]) -> float:
    """CPU seconds of this process."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    before = used()
    work()
    return used() - before


async def _send(path: Path, url: str, count: int) -> None:
    provider = FcmProvider(
        credentials_path=path,
        base_url=url,
        concurrency=50,
        bucket=TokenBucket(per_minute=60_000_000),
        timeout_seconds=60,
    )
    for start in range(0, count, 50):
        sent = await asyncio.gather(
            *(provider.send(_message(number)) for number in range(start, min(start + 50, count)))
        )
        assert {it.outcome for it in sent} == {PushOutcome.SENT}, sent
    await provider.close()


def _message(number: int) -> PushMessage:
    return PushMessage(
        token=f"ok:{number}",
        title="Wellward",
        body="你有一条新消息，点按查看。",
        data={},
        collapse_key=f"{number:032x}",
        message_id=f"m{number}",
        ttl=timedelta(hours=1),
    )


def _send_by_sdk(path: Path, url: str, count: int) -> None:
    app = firebase_admin.initialize_app(credentials.Certificate(str(path)), name=str(path))
    service = messaging._get_messaging_service(app)
    service._fcm_url = f"{url}/v1/projects/{app.project_id}/messages:send"
    built = [
        messaging.Message(
            token=f"ok:{number}",
            data={"messageId": f"m{number}"},
            notification=messaging.Notification(
                title="Wellward", body="你有一条新消息，点按查看。"
            ),
            android=messaging.AndroidConfig(
                collapse_key=f"{number:032x}", priority="high", ttl=timedelta(hours=1)
            ),
        )
        for number in range(count)
    ]
    for start in range(0, count, 500):
        sent = messaging.send_each(built[start : start + 500], app=app)
        assert sent.failure_count == 0, sent.responses[0].exception


# The gate


def _gate() -> list[Figure]:
    standing = gate.Standing(
        ZoneInfo("Asia/Shanghai"),
        "zh-CN",
        ConsentState.GRANTED,
        chosen_channels={"TASKS": ["PUSH", "IN_APP"]},
    )
    count = 200_000
    began = time.process_time()
    for _ in range(count):
        gate.refusal(
            standing,
            topic=gate.Topic.TASKS,
            channel=gate.Channel.PUSH,
            priority=gate.Priority.NORMAL,
            now=EVENING,
        )
    spent = time.process_time() - began
    return [Figure("gate evaluations", round(count / spent), "a core-second", "one channel each")]


if __name__ == "__main__":
    sys.setswitchinterval(0.01)
    typer.run(main)
