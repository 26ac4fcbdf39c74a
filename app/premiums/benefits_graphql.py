"""What a policy pays besides: sums insured, the mild-condition benefit, complication covers."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, Self
from uuid import UUID

import strawberry

from app import civil_time
from app.graphql import enums
from app.graphql.context import Context
from app.graphql.ids import parse
from app.graphql.node import Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.premiums import benefit_queries as queries
from app.premiums import benefit_rules as benefits
from app.premiums import benefit_sentences as sentences
from app.premiums import catalogue, money, money_graphql
from app.premiums.benefit_loading import load_rows
from app.premiums.benefit_queries import Key
from app.premiums.benefit_terms import Benefits
from app.premiums.benefit_terms import ComplicationCover as ComplicationTerms
from app.premiums.mild_conditions_graphql import MildConditionCase
from app.premiums.money_graphql import Money
from app.texts import Text

enums.register(
    benefits.UpliftSource,
    {"REWARD": "Redeemed points.", "MILD_CONDITION": "An improvement, chosen as cover."},
    name="CoverUpliftSource",
)
enums.register(benefits.CoverDecision, name="ComplicationCoverDecision")
enums.register(benefits.CoverReason, name="ComplicationCoverReason")


@strawberry.type(description="What is paid at most for one kind of event today.")
class SumInsured:
    code: str
    label: str
    explanation: str
    base: Money = strawberry.field(description="Of the product.")
    uplift_percent: Decimal = strawberry.field(
        description="Of all uplifts that hold today, within the product's limit."
    )
    amount: Money = strawberry.field(description="Base and uplift.")


@strawberry.type(description="A percentage that is added to sums insured for some days.")
class CoverUplift:
    source: benefits.UpliftSource
    percent: Decimal
    starts_on: date
    ends_on: date = strawberry.field(description="Last day.")


@strawberry.type(description="Half of what drugs cost, or so, for some months after the trigger.")
class MildConditionTerms:
    code: str
    label: str
    explanation: str
    example: str | None
    share_percent: Decimal
    months: int
    limit: Money = strawberry.field(description="Of one case.")


@strawberry.type(description="For those who have long been insured and taken part.")
class ComplicationCover:
    code: str
    label: str
    explanation: str
    amount: Money = strawberry.field(description="What is paid when it is diagnosed.")
    covered: bool = strawberry.field(description="Whether the member has it today.")
    covered_until: date | None = strawberry.field(description="Last day; null while not covered.")
    decision: benefits.CoverDecision | None = strawberry.field(
        description="The newest; null before the first one, and to whom health data is not shown."
    )
    reason: benefits.CoverReason | None
    decision_explanation: str | None = strawberry.field(description="The reason in words.")
    insured_months: int | None
    good_months: int | None = strawberry.field(description="Of the months that counted.")
    counted_months: int | None


@strawberry.type(description="What a policy pays besides the premium's own rules.")
class PolicyBenefits:
    covered_from: date = strawberry.field(
        description="What is found before this day is not covered: the waiting period."
    )
    sums_insured: list[SumInsured]
    mild_condition: MildConditionTerms | None = strawberry.field(
        description="Null when the product has no such benefit."
    )
    complication_covers: list[ComplicationCover]
    key: strawberry.Private[Key]

    @strawberry.field(description="The newest first. Empty to whom health data is not shown.")
    async def mild_condition_cases(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[MildConditionCase]:
        size = page_size(first)
        cursor: Any = read_cursor(after, date.fromisoformat, UUID)

        async def load(reading: Any, keys: Sequence[Key], open_to: Sequence[UUID]) -> Sequence[Any]:
            return await queries.cases(reading, keys, open_to=open_to, after=cursor, limit=size + 1)

        rows = await load_rows(info, f"cases.{size}.{after}", self.key, load, "policy_id")
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: MildConditionCase.of(row, info.context),
            key=lambda row: (row.triggered_on, row.id),
        )

    @strawberry.field(description="Also those that are over, the newest first.")
    async def cover_uplifts(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[CoverUplift]:
        size = page_size(first)
        cursor: Any = read_cursor(after, date.fromisoformat, UUID)

        async def load(
            reading: Any, keys: Sequence[Key], _open_to: Sequence[UUID]
        ) -> Sequence[Any]:
            return await queries.uplifts(reading, keys, after=cursor, limit=size + 1)

        rows = await load_rows(info, f"uplifts.{size}.{after}", self.key, load, "policy_id")
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: CoverUplift(
                source=benefits.UpliftSource(row.source),
                percent=row.percent,
                starts_on=row.starts_on,
                ends_on=row.ends_on,
            ),
            key=lambda row: (row.starts_on, row.id),
        )

    @classmethod
    def of(cls, row: Any, context: Context) -> Self | None:
        """From a row of `queries.policies`; None when the product has no benefits."""
        product = catalogue.definition(row.version_id, row.definition)
        terms = product.benefits
        if terms is None:
            return None
        today = civil_time.local_date(context.now, civil_time.zone(row.time_zone))
        mild, locale = terms.mild_condition, context.locale
        return cls(
            covered_from=benefits.covered_from(row.started_on, terms.waiting_days),
            sums_insured=_sums(terms, row.uplifts, product.currency, today, locale),
            mild_condition=MildConditionTerms(
                code=mild.code,
                label=mild.label.to(locale),
                explanation=mild.explanation.to(locale),
                example=mild.example.to(locale) if mild.example else None,
                share_percent=mild.share_percent,
                months=mild.months,
                limit=money_graphql.of(
                    money.minor(mild.amount_max, product.currency), product.currency
                ),
            )
            if mild is not None
            else None,
            complication_covers=_covers(terms, row.decisions, product.currency, today, locale),
            key=(row.member_id, row.id),
        )


@strawberry.type
class BenefitsOfPolicy(Node):
    """The part of `Policy` that is kept here."""

    @strawberry.field(description="Null when the product has none.")
    async def benefits(self, info: Info) -> PolicyBenefits | None:
        named = parse(self.id)
        assert named is not None

        async def load(reading: Any, keys: Sequence[Key], open_to: Sequence[UUID]) -> Sequence[Any]:
            return await queries.policies(reading, keys, open_to=open_to)

        rows = await load_rows(info, "policies", (named.owner_id, named.key), load, "id")
        return PolicyBenefits.of(rows[0], info.context) if rows else None


def _sums(
    terms: Benefits, uplifts: Sequence[Any], currency: str, today: date, locale: str
) -> list[SumInsured]:
    holding = [share for share, starts_on, ends_on in uplifts if starts_on <= today <= ends_on]
    made = []
    for cover in terms.covers:
        shares = holding if cover.uplift else []
        base = money.minor(cover.amount, currency)
        most = terms.uplift_percent_max
        made.append(
            SumInsured(
                code=cover.code,
                label=cover.label.to(locale),
                explanation=cover.explanation.to(locale),
                base=money_graphql.of(base, currency),
                uplift_percent=benefits.uplift_percent(shares, percent_max=most),
                amount=money_graphql.of(
                    benefits.sum_insured(base, shares, percent_max=most), currency
                ),
            )
        )
    return made


class _Decided(NamedTuple):
    """A row of `complication_decisions`."""

    decision: str
    reason: str
    insured_months: int
    good_months: int
    counted_months: int
    starts_on: date
    ends_on: date | None

    def covers(self, day: date) -> bool:
        return self.ends_on is not None and self.starts_on <= day <= self.ends_on

    def words(self, cover: ComplicationTerms) -> Text:
        reason = benefits.CoverReason(self.reason)
        return sentences.complication(
            cover, reason, self.insured_months, self.good_months, self.ends_on
        )


def _covers(
    terms: Benefits, decisions: Sequence[Any] | None, currency: str, today: date, locale: str
) -> list[ComplicationCover]:
    newest = {it[0]: _Decided(*it[1:]) for it in decisions or ()}
    made = []
    for cover in terms.complication_covers:
        it = newest.get(cover.code)
        covers = it is not None and it.covers(today)
        made.append(
            ComplicationCover(
                code=cover.code,
                label=cover.label.to(locale),
                explanation=cover.explanation.to(locale),
                amount=money_graphql.of(money.minor(cover.amount, currency), currency),
                covered=covers,
                covered_until=it.ends_on if it is not None and covers else None,
                decision=benefits.CoverDecision(it.decision) if it else None,
                reason=benefits.CoverReason(it.reason) if it else None,
                decision_explanation=it.words(cover).to(locale) if it else None,
                insured_months=it.insured_months if it else None,
                good_months=it.good_months if it else None,
                counted_months=it.counted_months if it else None,
            )
        )
    return made
