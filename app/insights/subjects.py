"""What a step of an explanation is about: the object itself, read when more than its id is
selected, and then with one statement a kind however many steps there are."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import strawberry
from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.dataloader import DataLoader

from app.checkins.review_types import Review, load_subjects
from app.graphql.ids import Kind, encode
from app.graphql.node import Info
from app.health_tasks import subjects as tasks
from app.health_tasks.graphql import CheckIn, HealthTask
from app.insights import assessments, premium_lines
from app.insights.steps import Subject, SubjectKind
from app.measurements.graphql import Measurement
from app.measurements.totals_graphql import DailyTotal, load_days
from app.points.graphql import CAUSE_TYPES, PointsEntry
from app.points.rules import CauseKind
from app.premiums.premium_types import PremiumLine
from app.rewards.graphql import Redemption
from app.risk.graphql import RiskAssessment
from app.worklist.subjects import SubjectKey

ExplanationSubject = Annotated[
    CheckIn
    | DailyTotal
    | HealthTask
    | Measurement
    | PointsEntry
    | PremiumLine
    | Redemption
    | Review
    | RiskAssessment,
    strawberry.union("ExplanationSubject"),
]

_TYPES: Mapping[SubjectKind, tuple[Kind, type[Any]]] = {
    SubjectKind.CHECK_IN: (Kind.CHECK_IN, CheckIn),
    SubjectKind.TASK: (Kind.TASK, HealthTask),
    SubjectKind.ENTRY: (Kind.POINTS_ENTRY, PointsEntry),
    SubjectKind.REDEMPTION: (Kind.REDEMPTION, Redemption),
    SubjectKind.REVIEW: (Kind.REVIEW, Review),
    SubjectKind.ASSESSMENT: (Kind.RISK_ASSESSMENT, RiskAssessment),
    SubjectKind.READING: (Kind.MEASUREMENT, Measurement),
    SubjectKind.DAILY_TOTAL: (Kind.DAILY_TOTAL, DailyTotal),
    SubjectKind.PREMIUM_LINE: (Kind.PREMIUM_LINE, PremiumLine),
}
_CAUSES = {
    SubjectKind.CHECK_IN: CauseKind.CHECK_IN,
    SubjectKind.ENTRY: CauseKind.TRANSFER,
    SubjectKind.REDEMPTION: CauseKind.REDEMPTION,
}


_SUBJECTS = {SubjectKind.TASK: tasks.load, SubjectKind.REVIEW: load_subjects}


async def load(info: Info, member_id: UUID, subject: Subject) -> Any:
    """The object; None when it is gone."""
    kind, type = _TYPES[subject.kind]
    if _identity_is_enough(info, type.__name__):
        places = (subject.id, subject.starts_on, subject.model)
        parts = tuple(it for it in places if it is not None)
        found = object.__new__(type)
        found.id = strawberry.ID(encode(kind, member_id, *parts))
        return found
    return await _loader(info, member_id, subject.kind).load(subject)


def _loader(info: Info, member_id: UUID, kind: SubjectKind) -> DataLoader[Subject, Any]:
    state = info.context.state
    name = f"insights.subjects.{kind}.{member_id}"
    if name not in state:

        async def load_many(subjects: list[Subject]) -> Sequence[Any]:
            if kind is SubjectKind.READING:
                return await assessments.load_readings(info, member_id, subjects)
            if kind is SubjectKind.DAILY_TOTAL:
                days = await load_days(info, member_id, [it.id for it in subjects])
                return [days.get(it.id) for it in subjects]
            if kind is SubjectKind.PREMIUM_LINE:
                return [await premium_lines.load(info, member_id, it) for it in subjects]
            if kind is SubjectKind.ASSESSMENT:
                return [await assessments.load(info, member_id, it) for it in subjects]
            if kind in _SUBJECTS:
                wanted = [SubjectKey(member_id, it.id, it.starts_on) for it in subjects]
                of_worklist = await _SUBJECTS[kind](info, wanted)
                return [of_worklist.get(key) for key in wanted]
            keys = [(member_id, it.id) for it in subjects]
            found = await CAUSE_TYPES[_CAUSES[kind]].load(info, keys)
            return [found.get(key) for key in keys]

        state[name] = DataLoader(load_fn=load_many)
    loader: DataLoader[Subject, Any] = state[name]
    return loader


def _identity_is_enough(info: Info, type_name: str) -> bool:
    return all(
        name in ("id", "__typename")
        for node in info._raw_info.field_nodes
        for name in _selected(node.selection_set, type_name, info)
    )


def _selected(selections: SelectionSetNode | None, type_name: str, info: Info) -> Sequence[str]:
    """Fields that are selected of this type; of an interface's fragment, all."""
    names: list[str] = []
    for selection in selections.selections if selections is not None else ():
        match selection:
            case FieldNode():
                names.append(selection.name.value)
            case InlineFragmentNode(type_condition=condition):
                if condition is None or _may_be(condition.name.value, type_name):
                    names += _selected(selection.selection_set, type_name, info)
            case FragmentSpreadNode():
                fragment = info._raw_info.fragments[selection.name.value]
                if _may_be(fragment.type_condition.name.value, type_name):
                    names += _selected(fragment.selection_set, type_name, info)
    return names


def _may_be(condition: str, type_name: str) -> bool:
    return condition == type_name or condition not in _NAMES


_NAMES = frozenset(type.__name__ for _, type in _TYPES.values()) | {
    "Measurement", "PremiumLine",
}  # fmt: skip
