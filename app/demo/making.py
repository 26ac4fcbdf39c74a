"""Making a population once, and more of it on request."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from random import Random
from uuid import UUID, uuid5

from rich.console import Console
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from app.adapters.sealing import Sealer, open_sealer
from app.config import Settings
from app.db import Database
from app.demo import population, portfolio, stories, subjects
from app.demo.history import Life, Replay
from app.demo.models import SeedRun
from app.errors import ConfigurationError
from app.members.models import StaffSignIn
from app.nudges import devices
from app.progress import bar
from app.rewards import codes

DEMO = "demo"
DEMO_SEED = 20261
DEMO_DAYS = 396
"""13 months: the first term has been renewed, so that a discount is in force."""
VOUCHERS = 100
"""Made-up codes of the drug store."""
OTHERS = 38
COLLEAGUES = 10
"""Insured together by their employer (PRM-13), as long as the others."""
STORIES = stories.STORIES
"""Of whom each shows one rule of a premium."""
OTHERS_DAYS = 30
NAMESPACE = UUID("4b0d5bd0-7d5e-4c52-9d0a-5f3c6c1d6a11")


class PopulationUnfinished(ConfigurationError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"The population {name!r} was interrupted while it was being made; what there is of "
            "it stays. Choose another --seed."
        )


async def is_unfinished(db: Database) -> bool:
    """Whether the demo population was interrupted while it was being made."""
    async with db.read() as connection:
        statement = select(col(SeedRun.finished_at)).where(col(SeedRun.name) == DEMO)
        found = (await connection.execute(statement)).one_or_none()
    return found is not None and found.finished_at is None


async def make_demo_once(
    db: Database, settings: Settings, *, now: datetime, console: Console
) -> None:
    """The demo population, unless it is there already."""
    if not await _begin(db, DEMO, now):
        return
    rng = Random(DEMO_SEED)
    today = now.date()
    everybody = [
        *(_named(login, rng, today) for login in ("demo", "demo2")),
        _child(rng, today),
        *_lives(OTHERS - 1, OTHERS_DAYS, seed=DEMO_SEED, today=today, prefix="member"),
        *(_told(story, rng, today) for story in STORIES),
        *_colleagues(today),
    ]
    async with db.transaction() as session:
        staff = await subjects.hire(session, now=now)
    if COLLEAGUES:
        began = now - timedelta(days=OTHERS_DAYS + 1)
        group = await portfolio.employer(db, staff["admin"], people=COLLEAGUES, now=began)
        for life in everybody[-COLLEAGUES:]:
            life.group = group
    actuaries = staff["actuary"], staff["actuary2"]
    year = stories.begins_on(today).year
    happenings = [portfolio.year_closed("inclusive", year, actuaries=actuaries)] if STORIES else []
    # `manager` looks after demo and demo2, and the two share the others.
    managers = [staff["manager"], staff["manager"], staff["manager2"]]
    replay = Replay(db, settings, now, everybody, managers, NAMESPACE, happenings)
    with bar(console, "Demo population, 13 months day by day") as report:
        await replay.run(report)
    demo, child = everybody[0].member_id, everybody[2].member_id
    assert demo is not None and child is not None
    async with db.transaction() as session:
        await subjects.guard(session, child_id=child, guardian_id=demo, now=now)
    await _register_phones(db, everybody, now)
    if sealer := open_sealer(settings):
        await _stock_vouchers(db, sealer, now)
    await _end(db, DEMO, now)


async def make_more(
    db: Database,
    settings: Settings,
    *,
    members: int,
    days: int,
    seed: int,
    now: datetime,
    console: Console,
) -> None:
    """`members` more with `days` of history; a seed makes the same people only once.

    Raises ConfigurationError: this seed was used before, or there are no employees yet.
    """
    name = f"seed-{seed}"
    async with db.read() as connection:
        statement = select(col(StaffSignIn.staff_id)).where(
            col(StaffSignIn.subject).in_(["staff:manager", "staff:manager2"])
        )
        managers = list((await connection.execute(statement)).scalars())
    if not managers:
        raise ConfigurationError("There are no employees yet: run `wellward up` once.")
    if not await _begin(db, name, now):
        raise ConfigurationError(
            f"The population of seed {seed} exists already; choose another --seed."
        )
    lives = _lives(members, days, seed=seed, today=now.date(), prefix=f"s{seed}-member")
    replay = Replay(db, settings, now, lives, managers, uuid5(NAMESPACE, name))
    with bar(console, f"{members} members, {days} days") as report:
        await replay.run(report)
    await _end(db, name, now)


def _named(login: str, rng: Random, today: date) -> Life:
    """A member that the documentation names: pre-chronic, diligent, in Shanghai."""
    adults = [
        it
        for it in population.participants()
        if 45 <= it.age <= 55
        and any(c == "SYSTOLIC_BP" and 130 <= v < 140 for c, v, _ in it.readings)
    ]
    made = population.person(login, rng.choice(adults), rng, today=today)
    return Life(
        population.settled(made, time_zone="Asia/Shanghai", locale="zh-CN", adherence=0.9),
        DEMO_DAYS,
        Random(rng.random()),
    )


def _child(rng: Random, today: date) -> Life:
    """A child for whom `demo` acts."""
    children = [it for it in population.participants() if 9 <= it.age <= 12]
    made = population.person("demo-child", rng.choice(children), rng, today=today)
    return Life(
        population.settled(made, time_zone="Asia/Shanghai", locale="zh-CN", adherence=0.6),
        OTHERS_DAYS,
        Random(rng.random()),
    )


def _told(story: stories.Story, rng: Random, today: date) -> Life:
    """Somebody who comes the day before their cover begins."""
    first = stories.begins_on(today)
    made = stories.person(story, population.name(rng), today)
    days = (today - first).days + 1
    return Life(made, days, Random(rng.random()), story=story, begins_on=first)


def _colleagues(today: date) -> list[Life]:
    seed, prefix = DEMO_SEED + 1, "colleague"
    people = population.people(COLLEAGUES, seed=seed, today=today, prefix=prefix, oldest=60)
    return [
        Life(replace(it, time_zone="Asia/Shanghai"), OTHERS_DAYS, Random(f"{seed}:{it.login}"))
        for it in people
    ]


def _lives(count: int, days: int, *, seed: int, today: date, prefix: str) -> list[Life]:
    people = population.people(count, seed=seed, today=today, prefix=prefix)
    return [Life(it, days, Random(f"{seed}:{it.login}")) for it in people]


async def _register_phones(db: Database, lives: list[Life], now: datetime) -> None:
    """Phones come last, so that a past reminder stands in the inbox and no push is made up."""
    for life in lives:
        assert life.member_id is not None
        async with db.transaction() as session:
            await devices.register(
                session,
                member_id=life.member_id,
                device=devices.Device(
                    installation_id=uuid5(NAMESPACE, f"phone:{life.person.login}"),
                    platform=devices.Platform.ANDROID,
                    push_token=f"ok:demo-{life.person.login}",
                    push_service=devices.PushService.FCM,
                    app_version="1.0.0",
                    locale=life.person.locale,
                    time_zone=life.person.time_zone,
                ),
                now=now,
            )


async def _stock_vouchers(db: Database, sealer: Sealer, now: datetime) -> None:
    made_up = [(number, f"DEMO-{number:04}") for number in range(1, VOUCHERS + 1)]
    async for _ in codes.import_codes(
        db, sealer, reward_code="drug-store-voucher", codes=made_up, now=now
    ):
        pass


async def _begin(db: Database, name: str, now: datetime) -> bool:
    """False when that population was made. Raises PopulationUnfinished."""
    async with db.transaction() as session:
        statement = insert(SeedRun).values(name=name, started_at=now)
        begun = await session.execute(
            statement.on_conflict_do_nothing().returning(col(SeedRun.name))
        )
        if begun.scalar_one_or_none() is not None:
            return True
        run = await session.get_one(SeedRun, name)
        if run.finished_at is None:
            raise PopulationUnfinished(name)
        return False


async def _end(db: Database, name: str, now: datetime) -> None:
    async with db.transaction() as session:
        run = await session.get_one(SeedRun, name)
        run.finished_at = now
