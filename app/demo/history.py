"""A population with a past: the real services and jobs, day by day, under an injected clock."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from uuid import UUID, uuid5

from app import civil_time
from app.checkins import service as checkins
from app.config import Settings
from app.db import Database
from app.demo import story_days, subjects
from app.demo.population import Person
from app.demo.stories import Story
from app.events import Events
from app.health_tasks import queries as tasks
from app.health_tasks import rules as task_rules
from app.jobs import clock, queue
from app.jobs.queue import JobContext
from app.measurements import service as measurements
from app.members import rules as member_rules
from app.members import service as members
from app.members.service import consent_text_versions
from app.nudges.reminders import Wish, set_reminder
from app.nudges.rules import ReminderKind
from app.premiums.policy_models import InsuredGroup
from app.progress import Report
from app.texts import Text
from app.worker import import_jobs

_WAKING = (time(8, 5), time(12, 30), time(19, 10))
"""Local times at which people look at their phones."""

_AFTER_MIDNIGHT = time(0, 5)
"""Local time at which the replayed clock ticks, in each zone in which somebody lives."""

_DAILY = ("health_tasks.close_periods", "health_tasks.take_rechecks", "nudges.plan")
"""Run each midnight, with what is queued: on these a day of somebody's rests."""

_WEEKLY = (1, 8, 15, 22)
"""Days of a month on which everything else runs too. Each of these jobs makes up for what was
due since: as after some days without a worker."""

_RECENT = timedelta(days=33)
"""So far back from today everything runs every day. The first renewals are among it."""

_REMINDERS = (
    (
        Text(zh="按时服药", en="Take your medication"),
        ReminderKind.MEDICATION,
        time(8),
        "FREQ=DAILY",
    ),
    (
        Text(zh="测一次血压", en="Measure your blood pressure"),
        ReminderKind.MEASUREMENT,
        time(19, 30),
        "FREQ=WEEKLY;BYDAY=TU,FR",
    ),
)

CONCURRENCY = 6

Happening = Callable[[Database, datetime], Awaitable[None]]

_TICKED = (task_rules.Verification.NONE, task_rules.Verification.STAFF)
"""Nobody here has a camera or a place."""

_PRESENT_ONLY = frozenset({"points.write_root"})
"""Proofs carry the time at which they were written; a replay writes none."""


@dataclass(slots=True)
class Life:
    """One member while their history is made."""

    person: Person
    days: int
    rng: Random
    member_id: UUID | None = None
    child: bool = False
    story: Story | None = None
    begins_on: date | None = None
    """Of a story: first day of cover, the day after they come."""
    group: InsuredGroup | None = None
    """With which they are insured."""


@dataclass(slots=True)
class Replay:
    """Runs the days up to `now` for some members."""

    db: Database
    settings: Settings
    now: datetime
    lives: Sequence[Life]
    managers: Sequence[UUID]
    namespace: UUID
    happenings: Sequence[tuple[date, Happening]] = ()
    """What employees do on a day."""
    events: Events = field(default_factory=lambda: Events("postgresql:///"))
    """Never started: nobody listens to the past."""

    async def run(self, progress: Report) -> None:
        import_jobs()
        longest = max(life.days for life in self.lives)
        first = self.now.astimezone(UTC).date() - timedelta(days=longest)
        for number in range(longest + 1):
            progress(number, longest + 1)
            await self._day(first + timedelta(days=number), longest - number)
        await self._tick(self.now, tuple(clock.SCHEDULES))
        progress(longest + 1, longest + 1)

    async def _day(self, day: date, days_left: int) -> None:
        """Who begins on this day begins; people do what they do; the clock ticks when the day
        is over in their zones."""
        begun = False
        for place, life in enumerate(self.lives):
            if life.days == days_left:
                await self._begin(place, life, day)
                begun = True
        for on, happens in self.happenings:
            if on == day:
                await happens(self.db, datetime.combine(day, time(2), UTC))
        await self._live_all(day)
        everything = begun or (day + timedelta(days=1)).day in _WEEKLY
        everything = everything or timedelta(days=days_left) <= _RECENT
        midnights = [it for it in self._midnights(day) if it < self.now]
        for moment in midnights:
            whole = everything and moment == midnights[-1]
            await self._tick(moment, tuple(clock.SCHEDULES) if whole else _DAILY)

    def _midnights(self, day: date) -> list[datetime]:
        """Just after the end of the day, wherever somebody lives."""
        zones = {life.person.time_zone for life in self._alive()}
        following = day + timedelta(days=1)
        return sorted(
            {
                civil_time.at_local_time(following, _AFTER_MIDNIGHT, civil_time.zone(it))
                for it in zones
            }
        )

    def _alive(self) -> Iterator[Life]:
        return (life for life in self.lives if life.member_id is not None)

    async def _tick(self, moment: datetime, names: Sequence[str]) -> None:
        """What the clock starts at this moment, and the jobs that follow from it."""
        context = JobContext(
            db=self.db, now=lambda: moment, events=self.events, push=None, settings=self.settings
        )
        for name in names:
            if name not in _PRESENT_ONLY:
                slot = {"slot": moment.isoformat()}
                await queue.HANDLERS[name].handler(context, slot)
        await queue.run_due(self.db, context)

    async def _begin(self, place: int, life: Life, day: date) -> None:
        zone = civil_time.zone(life.person.time_zone)
        # One after the other: of a group the tenth finds nine.
        now = civil_time.at_local_time(day, time(0, 30), zone) + timedelta(seconds=place)
        now = min(now, self.now)
        async with self.db.transaction() as session:
            manager_id = self.managers[place % len(self.managers)]
            if life.story is not None:
                life.member_id = await subjects.admit(
                    session, life.person, manager_id=manager_id, now=now
                )
            else:
                life.member_id = await subjects.enrol(
                    session,
                    life.person,
                    starts_on=civil_time.local_date(now, zone),
                    manager_id=manager_id,
                    group=life.group,
                    now=now,
                )
            await measurements.record(
                session,
                member_id=life.member_id,
                time_zone=life.person.time_zone,
                readings=measurements.clinical(life.person.participant.readings, at=now),
                now=now,
            )
        await self._answer_consents(life, now)
        if life.story is None:
            await self._set_reminders(life, now)

    async def _answer_consents(self, life: Life, now: datetime) -> None:
        for purpose in member_rules.ConsentPurpose:
            needed = purpose in ("HEALTH_DATA", "DEVICE_DATA")
            if not needed and life.rng.random() < 0.5:
                continue  # never asked
            async with self.db.transaction() as session:
                assert life.member_id is not None
                await members.set_consent(
                    session,
                    member_id=life.member_id,
                    request_id=self._request(life, now, purpose),
                    purpose=purpose,
                    granted=needed or life.rng.random() < 0.6,
                    text_version=consent_text_versions()[purpose],
                    recorded_by=life.member_id,
                    now=now,
                )

    async def _set_reminders(self, life: Life, now: datetime) -> None:
        day = civil_time.local_date(now, civil_time.zone(life.person.time_zone))
        for title, kind, at, recurrence in _REMINDERS:
            wish = Wish(
                title=title.to(life.person.locale),
                kind=kind,
                local_time=at,
                recurrence=recurrence,
                starts_on=day,
                ends_on=None,
            )
            async with self.db.transaction() as session:
                assert life.member_id is not None
                await set_reminder(
                    session,
                    member_id=life.member_id,
                    request_id=self._request(life, now, title.en),
                    reminder_id=None,
                    wish=wish,
                    now=now,
                )

    async def _live_all(self, day: date) -> None:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(life: Life) -> None:
            async with gate:
                await self._live(life, day)

        await asyncio.gather(*(one(life) for life in self._alive()))

    async def _live(self, life: Life, day: date) -> None:
        """One local day of a member: at some waking hour they tick what they have done."""
        zone = civil_time.zone(life.person.time_zone)
        moment = civil_time.at_local_time(day, life.rng.choice(_WAKING), zone)
        if moment >= self.now or civil_time.local_date(moment, zone) == self._today(life):
            return  # today is left to do
        assert life.member_id is not None
        if life.group is not None:
            await story_days.pay(self.db, life.member_id, day, now=moment)
        if life.story is not None:
            await story_days.live(self.db, life, day, manager_id=self.managers[0], now=moment)
            if not story_days.works(life, day):
                return
        async with self.db.read() as connection:
            due = await tasks.tasks(
                connection,
                member_id=life.member_id,
                days=task_rules.Span(day, day),
                after=None,
                limit=50,
                now=moment,
                own=True,
            )
        # By their titles: ids differ from run to run, and the draws follow the order.
        for task in sorted(due, key=lambda it: it.assignment.title_en):
            ticks = task.assignment.verification in _TICKED
            if ticks and task.state is task_rules.TaskState.OPEN and self._does(life, task):
                walked = task.assignment.kind == task_rules.TaskKind.REACH_TOTAL
                await checkins.check_in(
                    self.db,
                    member_id=life.member_id,
                    acted_by=life.member_id,
                    sent=checkins.NewCheckIn(
                        request_id=self._request(life, moment, str(task.assignment.id)),
                        assignment_id=task.assignment.id,
                        starts_on=task.span.starts_on,
                        occurred_at=moment,
                        value=task.target if walked else None,
                        note=None,
                    ),
                    now=moment,
                )

    def _does(self, life: Life, task: tasks.TaskView) -> bool:
        often = {"day": 1.0, "week": 0.4, "month": 0.5, "once": 0.01}[task.assignment.period]
        if life.story is not None:
            return task.assignment.period == "day"
        return life.rng.random() < life.person.adherence * often

    def _today(self, life: Life) -> date:
        return civil_time.local_date(self.now, civil_time.zone(life.person.time_zone))

    def _request(self, life: Life, now: datetime, what: str) -> UUID:
        return uuid5(self.namespace, f"{life.person.login}:{now.isoformat()}:{what}")
