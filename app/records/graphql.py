"""Records as fields of `Member`, and again by their ids."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app import civil_time
from app.errors import Unauthenticated
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind
from app.graphql.node import Fetch, Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements.graphql import Measurement
from app.members.rules import Sex
from app.records import clinical, published, queries, thresholds
from app.records.clinical import Found
from app.records.service import SUBJECT
from app.records.types import (
    ClinicalClass,
    Condition,
    DiabetesRange,
    Medication,
    ProductGroup,
    Questionnaire,
    QuestionnaireResponse,
)
from app.worklist.subjects import Load, SubjectKey, WorklistSubject


@strawberry.type
class RecordsQuery:
    @strawberry.field(description="The version in force, in the member's locale.")
    def questionnaire(self, info: Info, code: str) -> Questionnaire | None:
        context = info.context
        if context.viewer.member_id is None and context.viewer.staff_id is None:
            raise Unauthenticated
        form = published.in_force().get(code)
        return Questionnaire.of(form, context.locale) if form is not None else None


DIABETES_READINGS_MAX = 10


@strawberry.type
class RecordsOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(description="Newest first, also answers that were given anew since.")
    async def questionnaire_responses(
        self,
        info: Info,
        code: str | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[QuestionnaireResponse]:
        size = page_size(first)
        cursor: Any = read_cursor(after, _instant, UUID)

        async def load(reading: Any, ids: list[UUID], consented_only: bool) -> Sequence[Any]:
            return await queries.responses(
                reading,
                ids,
                code=code,
                after=cursor,
                limit=size + 1,
                consented_only=consented_only,
            )

        rows = await _load(info, f"responses.{code}.{size}.{after}", self._member_id, load)
        return connection(
            rows,
            size=size,
            after=after,
            node=QuestionnaireResponse.of,
            key=lambda row: (row.answered_at.isoformat(), row.id),
        )

    @strawberry.field(description="The newest first, also those that are over.")
    async def conditions(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Condition]:
        size = page_size(first)
        cursor = read_cursor(after, UUID)

        async def load(reading: Any, ids: list[UUID], consented_only: bool) -> Sequence[Any]:
            return await queries.conditions(
                reading,
                ids,
                after=cursor[0] if cursor else None,
                limit=size + 1,
                consented_only=consented_only,
            )

        rows = await _load(info, f"conditions.{size}.{after}", self._member_id, load)
        return connection(
            rows,
            size=size,
            after=after,
            node=Condition.of,
            key=lambda row: (row.condition_id,),
        )

    @strawberry.field(
        description="The newest first; only those that are taken now unless `currentOnly` is false."
    )
    async def medications(
        self,
        info: Info,
        current_only: bool = True,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[Medication]:
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        today = self._today(info) if current_only else None

        async def load(reading: Any, ids: list[UUID], consented_only: bool) -> Sequence[Any]:
            return await queries.medications(
                reading,
                ids,
                current_on=today,
                after=cursor[0] if cursor else None,
                limit=size + 1,
                consented_only=consented_only,
            )

        rows = await _load(info, f"medications.{today}.{size}.{after}", self._member_id, load)
        return connection(
            rows,
            size=size,
            after=after,
            node=Medication.of,
            key=lambda row: (row.medication_id,),
        )

    @strawberry.field(description="The present class of each area that has readings.")
    async def clinical_classes(self, info: Info) -> list[ClinicalClass]:
        rows = await self._readings(info)
        locale = self._locale(info)
        return [ClinicalClass.of(found, rows, locale) for found in self._classes(info, rows)]

    @strawberry.field(
        description="Null unless a reading of the last year lies in the diabetes range: fasting "
        "from 7.0 mmol/L on, whatever the product calls it."
    )
    async def diabetes_range(self, info: Info) -> DiabetesRange | None:
        rows = await self._readings(info)
        found = clinical.diabetes_range(
            map(clinical.of_row, rows.values()), thresholds.guidelines(), today=self._today(info)
        )
        if found is None:
            return None
        return DiabetesRange(
            message=clinical.SEE_A_DOCTOR.to(self._locale(info)),
            diagnostic=found.diagnostic,
            confirmed=found.confirmed,
            readings=[
                Measurement.from_row(rows[it.id]) for it in found.readings[:DIABETES_READINGS_MAX]
            ],
        )

    @strawberry.field(
        description="The product's own groups by its own thresholds, which may differ from the "
        "guidelines' classes."
    )
    async def product_groups(self, info: Info) -> list[ProductGroup]:
        rows = await self._readings(info)
        found = clinical.groups(self._classes(info, rows), thresholds.groups())
        locale = self._locale(info)
        return [
            ProductGroup(
                code=it.code, version=it.version, title=it.title.to(locale), source=it.source
            )
            for it in found
        ]

    @property
    def _member_id(self) -> UUID:
        return self.profile.member_id

    def _today(self, info: Info) -> date:
        return civil_time.local_date(info.context.now, civil_time.zone(self.profile.time_zone))

    def _locale(self, info: Info) -> str:
        own = info.context.is_own(self.profile.member_id)
        return self.profile.locale if own else info.context.locale

    def _classes(self, info: Info, rows: Mapping[UUID, Any]) -> list[Found]:
        today = self._today(info)
        age = civil_time.completed_years(self.profile.birth_date, today)
        return clinical.classes(
            map(clinical.of_row, rows.values()),
            clinical.Person(Sex(self.profile.sex), age),
            thresholds.guidelines(),
            today=today,
        )

    async def _readings(self, info: Info) -> Mapping[UUID, Any]:
        """What classes rest on, by id, newest first; read once a request."""

        async def load(reading: Any, ids: list[UUID], consented_only: bool) -> Sequence[Any]:
            return await queries.readings(
                reading,
                ids,
                thresholds.guidelines(),
                consented_only=consented_only,
                now=info.context.now,
            )

        rows = await _load(info, "clinical", self._member_id, load)
        return {row.id: row for row in rows}


LoadMany = Callable[[Any, list[UUID], bool], Awaitable[Sequence[Any]]]


async def _load(info: Info, name: str, member_id: UUID, load_many: LoadMany) -> list[Any]:
    """Rows of one member; loads of one moment, as of a list of members, share a statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"records.{name}.{consented_only}"
    state = info.context.state
    if name not in state:

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            async with info.context.db.read() as reading:
                rows = await load_many(reading, member_ids, consented_only)
            found: dict[UUID, list[Any]] = defaultdict(list)
            for row in rows:
                found[row.member_id].append(row)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(member_id)
    return found


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


# Again by id


async def _fetch_response(info: Info, id: GlobalId) -> QuestionnaireResponse | None:
    async with info.context.db.read() as reading:
        row = await queries.response(
            reading, id.owner_id, id.key, consented_only=not info.context.is_own(id.owner_id)
        )
    return QuestionnaireResponse.of(row) if row else None


async def _fetch_condition(info: Info, id: GlobalId) -> Condition | None:
    async with info.context.db.read() as reading:
        row = await queries.condition(
            reading, id.owner_id, id.key, consented_only=not info.context.is_own(id.owner_id)
        )
    return Condition.of(row) if row else None


async def _fetch_medication(info: Info, id: GlobalId) -> Medication | None:
    async with info.context.db.read() as reading:
        row = await queries.medication(
            reading, id.owner_id, id.key, consented_only=not info.context.is_own(id.owner_id)
        )
    return Medication.of(row) if row else None


async def _load_subjects(
    info: Info, keys: Sequence[SubjectKey]
) -> Mapping[SubjectKey, WorklistSubject]:
    """Of the worklist, so for employees: with the member's consent only."""
    async with info.context.db.read() as reading:
        rows = await queries.responses_by_id(reading, [(it.member_id, it.id) for it in keys])
    found = {(row.member_id, row.id): row for row in rows}
    return {
        key: QuestionnaireResponse.of(found[key.member_id, key.id])
        for key in keys
        if (key.member_id, key.id) in found
    }


SUBJECTS: dict[str, Load] = {SUBJECT: _load_subjects}
NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.QUESTIONNAIRE_RESPONSE: _fetch_response,
    Kind.CONDITION: _fetch_condition,
    Kind.MEDICATION: _fetch_medication,
}
