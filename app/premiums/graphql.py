"""The premium on the first screen, the policy in force, and what was ever paid."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import strawberry
from sqlalchemy import DateTime, Integer, Uuid, bindparam, text
from strawberry.dataloader import DataLoader

from app.graphql import enums
from app.graphql.facets import Facet, Profile, Reading
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.graphql.scalars import decimal_text
from app.measurements.enums import MeasurementCode
from app.members.rules import ConsentState, shows_health
from app.premiums import engine, money_graphql, renewal_reads, simulation, stored_lines
from app.premiums.benefits_graphql import BenefitsOfPolicy
from app.premiums.contracts_graphql import ContractOfPolicy
from app.premiums.facts import Moment
from app.premiums.money_graphql import Money
from app.premiums.premium_types import PremiumLine, PremiumQuote, Product, lines_of
from app.premiums.simulation import Change, Scenario
from app.premiums.terms_graphql import TermsOfPolicy
from app.risk.graphql import RiskTier

__all__ = ["FACETS", "NODE_FETCHERS", "MemberPremium", "Policy", "PremiumLine"]

enums.register(Moment, {"MID_TERM": "A change during a term."}, name="PremiumMoment")


@strawberry.type(description="The headline for the first screen; the lines are under `policy`.")
class PremiumSummary:
    adjustment_percent: Decimal = strawberry.field(
        description='Against base, in percent: `"-15"` is 15 % cheaper, `"5"` is 5 % dearer.'
    )
    projected_adjustment_percent: Decimal | None = strawberry.field(
        description="The same for the next term if nothing changes; null when there is no renewal."
    )
    renews_on: date = strawberry.field(description="First day of the next term.")


@strawberry.input
class MeasurementChangeInput:
    code: MeasurementCode
    change: Decimal = strawberry.field(
        description='Signed difference from today\'s average: `"-10"`.'
    )
    unit: str | None = strawberry.field(
        default=None, description="UCUM; the code's canonical unit when left out."
    )


@strawberry.input(description="Leave out what stays as it is.")
class PremiumScenarioInput:
    measurements: list[MeasurementChangeInput] | None = None
    risk_tier: RiskTier | None = None
    participation_months: int | None = strawberry.field(
        default=None, description="Months of participation at renewal."
    )

    def scenario(self) -> Scenario:
        return Scenario(
            changes=[Change(it.code.value, it.change, it.unit) for it in self.measurements or ()],
            tier=self.risk_tier,
            participation_months=self.participation_months,
        )


@strawberry.type
class Policy(BenefitsOfPolicy, TermsOfPolicy, ContractOfPolicy):
    product: Product
    term_start: date = strawberry.field(description="First day of cover.")
    term_end: date = strawberry.field(description="Last day of cover.")
    base: Money = strawberry.field(description="A year's premium before any line.")
    current: PremiumQuote = strawberry.field(description="What is paid now.")
    owner: strawberry.Private[UUID]
    shown_in: strawberry.Private[str]
    """The locale of the texts."""
    shown: strawberry.Private[bool]
    """Whether health data is the viewer's to see; lines are."""

    @strawberry.field(
        description="What the next term would cost as things stand; null when there is none."
    )
    async def renewal(self, info: Info) -> PremiumQuote | None:
        known = await renewal_reads.renewal(info.context, self.owner)
        if known is None:
            return None
        return PremiumQuote.of(
            known.priced,
            as_of=known.facts.as_of,
            locale=self.shown_in,
            why=(self.owner, known.due.policy_id),
            shown=self.shown,
        )

    @strawberry.field(
        description="What if: the renewal, computed by the billing engine on changed facts. "
        "Nothing is stored; an empty scenario equals `renewal`; null when there is none. "
        "Codes: VALUE_OUT_OF_RANGE."
    )
    async def simulate(self, info: Info, scenario: PremiumScenarioInput) -> PremiumQuote | None:
        known = await renewal_reads.renewal(info.context, self.owner)
        if known is None:
            return None
        product = known.due.product
        facts = simulation.changed(known.facts, product, scenario.scenario())
        return PremiumQuote.of(
            engine.price(product, facts),
            as_of=known.facts.as_of,
            locale=self.shown_in,
            shown=self.shown,
        )


@strawberry.type(description="What a term, or what was left of one, was priced at; kept for ever.")
class PremiumRecord:
    policy_id: strawberry.ID
    product: Product
    moment: Moment
    term_start: date = strawberry.field(description="First day of the term.")
    effective_on: date = strawberry.field(
        description="First day that costs this; of a change in the term, later than `termStart`."
    )
    premium: PremiumQuote


@strawberry.type
class MemberPremium:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]
    premium: PremiumSummary | None = strawberry.field(
        description="The headline of the policy in force; null without one."
    )
    policy: Policy | None = strawberry.field(description="The policy in force; null without one.")

    @strawberry.field(description="Every premium of every policy, the newest first.")
    async def premium_history(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[PremiumRecord]:
        size = page_size(first)
        cursor: Any = read_cursor(after, datetime.fromisoformat, UUID)
        member_id = self.profile.member_id
        rows = await _history(info, member_id, cursor, size + 1)
        own = info.context.is_own(member_id)
        locale = self.profile.locale if own else info.context.locale
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: _record(row, own=own, locale=locale),
            key=lambda row: (row.as_of.isoformat(), row.id),
        )


def _summary(texts: Any, _: Reading) -> PremiumSummary | None:
    """From `SUMMARY`, written as it stands."""
    if texts is None:
        return None
    adjustment, projected, renews_on = texts
    return PremiumSummary(
        adjustment_percent=decimal_text(adjustment),  # type: ignore[arg-type]
        projected_adjustment_percent=projected and decimal_text(projected),  # type: ignore[arg-type]
        renews_on=renews_on,
    )


def _policy(row: Any, reading: Reading) -> Policy | None:
    if row is None:
        return None
    id, code, version, zh, en, starts_on, ends_on, *premium, health = row
    premium_id, base, total, currency, percent, as_of, lines = premium
    member_id, locale = reading.profile.member_id, reading.locale
    shown = shows_health(ConsentState(health or ConsentState.NOT_ASKED), own=reading.own)
    return Policy(
        id=strawberry.ID(encode(Kind.POLICY, member_id, id)),
        product=_product(code, zh, en, version, locale),
        term_start=starts_on,
        term_end=ends_on,
        base=money_graphql.of(base, currency),
        current=_stored(
            base, total, currency, percent, as_of,
            lines=orjson.loads(lines) if lines is not None and shown else (),
            why=(member_id, premium_id),
            locale=locale,
        ),
        owner=member_id,
        shown_in=locale,
        shown=shown,
    )  # fmt: skip


def _product(code: str, zh: str, en: str, version: str, locale: str) -> Product:
    return Product(code=code, name=zh if locale[:2] == "zh" else en, version=version)


def _stored(
    base: int,
    total: int,
    currency: str,
    percent: Decimal,
    as_of: datetime,
    *,
    lines: Sequence[Any],
    why: tuple[UUID, UUID],
    locale: str,
) -> PremiumQuote:
    """As it was kept."""
    return PremiumQuote(
        as_of=as_of,
        total=money_graphql.of(total, currency),
        adjustment_percent=percent,
        base=money_graphql.of(base, currency),
        lines=lines_of(stored_lines.read(lines), currency, why, locale),
        not_applied=[],
    )


def _record(row: Any, *, own: bool, locale: str) -> PremiumRecord:
    shown = shows_health(ConsentState(row.health or ConsentState.NOT_ASKED), own=own)
    return PremiumRecord(
        policy_id=strawberry.ID(encode(Kind.POLICY, row.member_id, row.policy_id)),
        product=_product(row.code, row.zh, row.en, row.version, locale),
        moment=Moment(row.moment),
        term_start=row.term_starts_on,
        effective_on=row.effective_on,
        premium=_stored(
            row.base, row.total, row.currency, row.adjustment_percent, row.as_of,
            lines=row.lines if shown else (),
            why=(row.member_id, row.id),
            locale=locale,
        ),
    )  # fmt: skip


_HEALTH = """(select s.state from consents s where s.member_id = {} and s.purpose = 'HEALTH_DATA'
   order by s.version desc limit 1)"""
SUMMARY = """
(select array[p.adjustment_percent::text, p.projected_adjustment_percent::text, p.renews_on::text]
 from policies c join premium_projections p on p.member_id = c.member_id and p.policy_id = c.id
 where c.member_id = members.member_id and c.state = 'IN_FORCE')
"""
# Of a change during the term, from its day on; without a premium, as a term that was priced
# before they were kept, the headline of the term.
POLICY = f"""
(select row(c.id, v.code, v.version, v.definition #>> '{{name,zh}}',
   v.definition #>> '{{name,en}}', t.starts_on, t.ends_on, coalesce(p.id, c.id),
   coalesce(p.base, t.base), coalesce(p.total, t.total), t.currency,
   coalesce(p.adjustment_percent, t.adjustment_percent), coalesce(p.as_of, t.created_at),
   p.lines::text, {_HEALTH.format("c.member_id")})
 from policies c
 join policy_terms t on t.member_id = c.member_id and t.policy_id = c.id
 left join lateral (select * from premiums p where p.member_id = c.member_id
   and p.policy_id = c.id and p.term_starts_on = t.starts_on
   and (p.moment <> 'MID_TERM'
     or p.effective_on <= (:now at time zone members.time_zone)::date)
   order by p.number desc limit 1) p on true
 join product_versions v on v.id = coalesce(p.product_version_id, c.product_version_id)
 where c.member_id = members.member_id and c.state = 'IN_FORCE'
 order by t.starts_on desc limit 1)
"""
_HISTORY = text(f"""
select it.*, v.code, v.version, v.definition #>> '{{name,zh}}' as zh,
  v.definition #>> '{{name,en}}' as en, {_HEALTH.format("it.member_id")} as health
from unnest(cast(:member_ids as uuid[])) as asked (member_id)
cross join lateral (select p.* from premiums p where p.member_id = asked.member_id
  and (cast(:before as timestamptz) is null or (p.as_of, p.id) < (:before, :before_id))
  order by p.as_of desc, p.id desc limit :size) it
join product_versions v on v.id = it.product_version_id
order by it.member_id, it.as_of desc, it.id desc
""").bindparams(
    bindparam("before", type_=DateTime(timezone=True)),
    bindparam("before_id", type_=Uuid),
    bindparam("size", type_=Integer),
)


async def _history(
    info: Info, member_id: UUID, before: tuple[datetime, UUID] | None, size: int
) -> Sequence[Any]:
    """Loads of one moment for the same page share one statement."""
    context = info.context
    name = f"premiums.history.{before}.{size}"
    if name not in context.state:

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            at, id = before or (None, None)
            page = {"member_ids": member_ids, "before": at, "before_id": id, "size": size}
            async with context.db.read() as reading:
                rows = (await reading.execute(_HISTORY, page)).all()
            found: dict[UUID, list[Any]] = {member_id: [] for member_id in member_ids}
            for row in rows:
                found[row.member_id].append(row)
            return [found[member_id] for member_id in member_ids]

        context.state[name] = DataLoader(load_fn=load)
    rows: Sequence[Any] = await context.state[name].load(member_id)
    return rows


FACETS = (
    Facet(field="premium", attribute="premium", sql=SUMMARY, read=_summary),
    Facet(field="policy", attribute="policy", sql=POLICY, read=_policy),
)


async def _fetch_policy(info: Info, id: GlobalId) -> Policy | None:
    """The policy in force; an ended one is not shown any more."""
    member = await info.context.members.load_fields(info, id.owner_id, frozenset({"policy"}))
    found: Policy | None = member.policy if member else None
    return found if found and found.id == encode(id.kind, *id.parts) else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.POLICY: _fetch_policy}
