"""Reviews as those see them who decide, and members what was decided about them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from sqlalchemy import ARRAY, Uuid, bindparam, text
from strawberry.dataloader import DataLoader

from app.checkins import anomalies
from app.graphql import enums
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info
from app.health_tasks import check_ins
from app.health_tasks import subjects as tasks
from app.health_tasks.graphql import CheckIn, HealthTask
from app.health_tasks.queries import CHECK_IN_COLUMNS, LatestCheckIn
from app.health_tasks.sentences import FINDINGS, Reason
from app.members.console import LazyStaff, load_staff
from app.points.graphql import CAUSE_TYPES, Key, PointsEntry
from app.points.rules import CauseKind
from app.texts import Text
from app.worklist import reviews
from app.worklist.rules import Decision, ReviewKind, ReviewState
from app.worklist.subjects import SubjectKey, WorklistSubject

enums.register(
    ReviewKind,
    {
        "APPEAL": "A member contests an entry of their points, or that a check-in was rejected.",
        "RISK": "A member contests their risk tier.",
    },
)
enums.register(ReviewState, {"AWAITING_SECOND_PERSON": "One person decided; a second is needed."})
enums.register(Decision, name="ReviewDecision")

EARLIER = 5
"""How many check-ins before it a review shows."""

_KEYS = (bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_WANTED = "unnest(:member_ids, :ids) as wanted (member_id, id)"
_REVIEWS = text(
    f"select r.* from {_WANTED} join reviews r on (r.member_id, r.id) = (wanted.member_id, wanted.id)"
).bindparams(*_KEYS)
_ABOUT = text(f"""
select c.member_id, c.id, c.assignment_id, c.starts_on, c.note, e.photo_id, e.place_code,
  array(select row({CHECK_IN_COLUMNS.replace("c.", "b.")}) from checkins b
    where b.member_id = c.member_id and b.assignment_id = c.assignment_id
    and (b.starts_on, b.local_date, b.slot) < (c.starts_on, c.local_date, c.slot)
    order by b.starts_on desc, b.local_date desc, b.slot desc limit {EARLIER}) as earlier
from {_WANTED} join checkins c on c.member_id = wanted.member_id and c.id = wanted.id
left join check_in_evidence e on e.member_id = c.member_id and e.check_in_id = c.id
""").bindparams(*_KEYS)


@strawberry.type(description="A question that one person answers, or two who agree.")
class Review(WorklistSubject):
    kind: ReviewKind
    state: ReviewState
    reason: str | None = strawberry.field(
        description="The decision in words, shown to the member; null until decided."
    )
    opened_at: datetime
    due_at: datetime = strawberry.field(description="Until when it is decided.")
    points: int = strawberry.field(description="How many it is about.")
    needs_second_person: bool = strawberry.field(
        description="Two people must agree about so many points."
    )
    text: str | None = strawberry.field(
        description="What the member says; null when they contest nothing."
    )
    row: strawberry.Private[Any]

    @strawberry.field(
        description="Who decided, where two must the first; null until then, and for the member."
    )
    async def decided_by(self, info: Info) -> LazyStaff | None:
        return await _staff(info, self.row.decided_by)  # type: ignore[no-any-return]

    @strawberry.field(description="Who agreed, where two must; null for the member.")
    async def second_by(self, info: Info) -> LazyStaff | None:
        return await _staff(info, self.row.second_by)  # type: ignore[no-any-return]

    @strawberry.field(description="Why it was opened, in words, the most telling first.")
    def findings(self, info: Info) -> list[str]:
        return [_finding(code).to(info.context.locale) for code in self.row.findings]

    @strawberry.field(description="What is claimed; null when the points were for something else.")
    async def check_in(self, info: Info) -> CheckIn | None:
        key = self._check_in_key()
        found = await _load(info, "check_ins", _load_check_ins, key) if key else None
        return CheckIn.of(self.row.member_id, found, info.context.locale) if found else None

    @strawberry.field(description="What was to be done.")
    async def task(self, info: Info) -> HealthTask | None:
        about = await self._about(info)
        if about is None:
            return None
        key = SubjectKey(self.row.member_id, about.assignment_id, about.starts_on)
        return await _load(info, "tasks", tasks.load, key)  # type: ignore[no-any-return]

    @strawberry.field(
        description="The entry that is contested; null unless an appeal, and when it is about a "
        "check-in that no points were given for."
    )
    async def entry(self, info: Info) -> PointsEntry | None:
        if self.kind is not ReviewKind.APPEAL or self.row.subject_id == self.row.check_in_id:
            return None
        entries = CAUSE_TYPES[CauseKind.TRANSFER].load
        key = (self.row.member_id, self.row.subject_id)
        return await _load(info, "entries", entries, key)  # type: ignore[no-any-return]

    @strawberry.field(
        description=f"The last {EARLIER} check-ins of the same task before it, the newest first."
    )
    async def earlier(self, info: Info) -> list[CheckIn]:
        about = await self._about(info)
        locale = info.context.locale
        return [
            CheckIn.of(self.row.member_id, LatestCheckIn._make(it), locale)
            for it in (about.earlier if about else ())
        ]

    @strawberry.field(description="What the member wrote to the check-in.")
    async def note(self, info: Info) -> str | None:
        about = await self._about(info)
        return about.note if about else None

    @strawberry.field(
        description="Opens the photo for five minutes, for whoever asked; each opening is "
        "audited. Null without a photo, and for the member."
    )
    async def photo_url(self, info: Info) -> str | None:
        context = info.context
        about = await self._about(info)
        if about is None or about.photo_id is None or context.viewer.staff_id is None:
            return None
        if context.sign_link is None:
            return None
        return context.sign_link(
            f"/photos/{about.photo_id.hex}",
            {"member": self.row.member_id.hex, "by": context.viewer.staff_id.hex},
        )

    @strawberry.field(description="Code of the task's place where it was; null without one.")
    async def place_code(self, info: Info) -> str | None:
        about = await self._about(info)
        return about.place_code if about else None

    def _check_in_key(self) -> Key | None:
        found: UUID | None = self.row.check_in_id
        return (self.row.member_id, found) if found is not None else None

    async def _about(self, info: Info) -> Any:
        key = self._check_in_key()
        return await _load(info, "about", _load_about, key) if key else None

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `Review` of the tables, or a row with its columns."""
        state = ReviewState(row.state)
        is_final = state in (ReviewState.ACCEPTED, ReviewState.REJECTED)
        return cls(
            id=strawberry.ID(encode(Kind.REVIEW, row.member_id, row.id)),
            kind=ReviewKind(row.kind),
            state=state,
            reason=row.reason if is_final else None,
            opened_at=row.opened_at,
            due_at=row.due_at,
            points=row.points,
            needs_second_person=row.points > row.second_person_above,
            text=row.text,
            row=row,
        )


def _finding(code: str) -> Text:
    return FINDINGS[Reason.of_finding(anomalies.Finding(code))]


async def _staff(info: Info, staff_id: UUID | None) -> Any:
    """Colleagues are for colleagues: a member sees what was decided, not by whom."""
    if staff_id is None or info.context.viewer.staff_id is None:
        return None
    return await load_staff(info, staff_id)


async def _load(
    info: Info,
    name: str,
    load_many: Callable[[Info, Sequence[Any]], Awaitable[Mapping[Any, Any]]],
    key: Any,
) -> Any:
    """Loads of one moment share one statement."""
    state = info.context.state
    if f"reviews.{name}" not in state:

        async def load(keys: list[Any]) -> list[Any]:
            found = await load_many(info, keys)
            return [found.get(key) for key in keys]

        state[f"reviews.{name}"] = DataLoader(load_fn=load)
    return await state[f"reviews.{name}"].load(key)


async def _load_check_ins(info: Info, keys: Sequence[Key]) -> Mapping[Key, LatestCheckIn]:
    async with info.context.db.read() as reading:
        return await check_ins.find(reading, keys, is_own=info.context.is_own)


async def _rows(info: Info, statement: Any, keys: Sequence[Key]) -> Mapping[Key, Any]:
    member_ids, ids = zip(*keys, strict=True)
    parameters = {"member_ids": list(member_ids), "ids": list(ids)}
    async with info.context.db.read() as reading:
        rows = await reading.execute(statement, parameters)
        return {(row.member_id, row.id): row for row in rows}


async def _load_about(info: Info, keys: Sequence[Key]) -> Mapping[Key, Any]:
    return await _rows(info, _ABOUT, keys)


async def load_subjects(
    info: Info, keys: Sequence[SubjectKey]
) -> Mapping[SubjectKey, WorklistSubject]:
    """For the worklist."""
    found = await _rows(info, _REVIEWS, [(key.member_id, key.id) for key in keys])
    return {
        key: Review.of(found[key.member_id, key.id])
        for key in keys
        if (key.member_id, key.id) in found
    }


async def _fetch_review(info: Info, id: GlobalId) -> Review | None:
    key = (id.owner_id, id.key)
    row = (await _rows(info, _REVIEWS, [key])).get(key)
    return Review.of(row) if row is not None else None


SUBJECTS = {reviews.SUBJECT_KIND: load_subjects}
NODE_FETCHERS: dict[Kind, Fetch] = {Kind.REVIEW: _fetch_review}
