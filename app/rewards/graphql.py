"""Rewards with the eyes of `me`, and what became of redemptions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.errors import ConfigurationError, Unauthenticated
from app.graphql import enums
from app.graphql.context import Context
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members import standing as _standing  # noqa: F401 - makes SegmentCode a type of the API
from app.members.rules import SegmentCode
from app.points.graphql import CauseType, PointsCause
from app.points.rules import CauseKind
from app.rewards import codes, costs, queries, rules
from app.rewards.fulfilment import SUBJECT
from app.rewards.queries import Key, Shelved
from app.rewards.terms import PRICE_MAX
from app.risk.graphql import RiskTier
from app.worklist.subjects import Load, SubjectKey, WorklistSubject

enums.register(rules.RewardKind)
enums.register(
    rules.RedemptionState,
    {"REVERSED": "Was fulfilled; then an employee gave the points back."},
)
enums.register(rules.UnavailableReason, name="RewardUnavailableReason")
enums.register(
    rules.Fulfilment,
    {
        "VOUCHER_CODE": "One of the imported codes, at once.",
        "MANUAL": "An employee sees to it.",
        "BENEFIT": "Applied to the member's policy.",
    },
    name="RewardFulfilment",
)


@strawberry.type(description="Off a premium.")
class PremiumCredit:
    amount_minor: int = strawberry.field(description="In minor units of `currency`.")
    currency: str = strawberry.field(description="ISO 4217: `CNY`.")


@strawberry.type(description="What one reward costs the programme.")
class RewardUnitCost:
    amount_minor: int = strawberry.field(description="In minor units of `currency`.")
    currency: str = strawberry.field(description="ISO 4217: `CNY`.")


@strawberry.type
class LocalizedText:
    zh: str
    en: str


@strawberry.type(description="What employees decide about a reward; the version in force.")
class RewardTerms:
    code: str
    version: int
    fulfilment: rules.Fulfilment
    title: LocalizedText
    description: LocalizedText
    conditions: LocalizedText | None
    limit_per_member: int | None = strawberry.field(description="Null when there is none.")
    visible_from: datetime | None
    visible_to: datetime | None
    active_from: datetime | None
    active_to: datetime | None
    tiers: list[RiskTier] = strawberry.field(description="Whom it is for; empty is everybody.")
    segments: list[SegmentCode] = strawberry.field(
        description="Whom it is for; empty is everybody."
    )
    reserved_days: int = strawberry.field(
        description="How long a redemption may wait to be fulfilled."
    )
    cover_uplift_percent: Decimal | None
    premium_credit: PremiumCredit | None
    unit_cost: RewardUnitCost | None = strawberry.field(
        description="What one costs the programme; null when unknown, and for a credit."
    )

    @classmethod
    def of(cls, found: Shelved) -> Self:
        terms = found.terms
        credit, uplift = terms.premium_credit, terms.cover_uplift_percent
        return cls(
            code=found.code,
            version=found.version,
            fulfilment=terms.fulfilment,
            title=LocalizedText(zh=terms.title.zh, en=terms.title.en),
            description=LocalizedText(zh=terms.description.zh, en=terms.description.en),
            conditions=LocalizedText(zh=terms.conditions.zh, en=terms.conditions.en)
            if terms.conditions
            else None,
            limit_per_member=terms.limit_per_member,
            visible_from=terms.visible_from,
            visible_to=terms.visible_to,
            active_from=terms.active_from,
            active_to=terms.active_to,
            tiers=[RiskTier(tier) for tier in terms.tiers],
            segments=[SegmentCode(segment) for segment in terms.segments],
            reserved_days=terms.reserved_days,
            cover_uplift_percent=uplift,
            premium_credit=PremiumCredit(amount_minor=credit.amount, currency=credit.currency)
            if credit
            else None,
            unit_cost=RewardUnitCost(
                amount_minor=terms.unit_cost.amount, currency=terms.unit_cost.currency
            )
            if terms.unit_cost
            else None,
        )


@strawberry.type
class Reward(Node):
    title: str
    description: str
    conditions: str | None = strawberry.field(
        description="In plain words; null when there are none."
    )
    image_url: str | None
    kind: rules.RewardKind
    price: int = strawberry.field(description="In points.")
    stock: int | None = strawberry.field(description="How many are left; null when unlimited.")
    active_from: datetime | None = strawberry.field(
        description="From then on it can be redeemed; null when it always could."
    )
    active_to: datetime | None = strawberry.field(
        description="Until before then it can be redeemed; null without an end."
    )
    affordable: bool = strawberry.field(description="Whether `me` can redeem it now.")
    unavailable_reason: rules.UnavailableReason | None = strawberry.field(
        description="Why not; null when `affordable`."
    )
    shelved: strawberry.Private[Shelved]

    @strawberry.field(description="Seen by employees alone; null for members.")
    def terms(self, info: Info) -> RewardTerms | None:
        return RewardTerms.of(self.shelved) if info.context.viewer.staff_id is not None else None

    @strawberry.field(
        description="What it has cost so far; null for members and health managers. Counts all "
        "redemptions: for reports."
    )
    async def cost(self, info: Info) -> costs.RewardCost | None:
        if not info.context.viewer.roles.intersection(costs.LOOKING):
            return None
        return await costs.load(info, self.shelved.id)

    @classmethod
    def of(cls, found: Shelved, context: Context) -> Self:
        terms = found.terms
        reason = rules.unavailable(terms.offer(found.stock), found.person, now=context.now)
        return cls(
            id=strawberry.ID(encode(Kind.REWARD, found.id)),
            title=terms.name.to(context.locale),
            description=terms.description.text.to(context.locale),
            conditions=terms.conditions.text.to(context.locale) if terms.conditions else None,
            image_url=terms.image_url,
            kind=terms.kind,
            price=terms.price,
            stock=found.stock,
            active_from=terms.active_from,
            active_to=terms.active_to,
            affordable=reason is None,
            unavailable_reason=reason,
            shelved=found,
        )


def _me(context: Context) -> UUID | None:
    """The member with whose eyes rewards are seen; None for an employee who is none."""
    return context.viewer.acting_for or context.viewer.member_id


def _price(text: str) -> int:
    """From a cursor; ValueError when it cannot be one."""
    found = int(text)
    if not 0 < found <= PRICE_MAX:
        raise ValueError(text)
    return found


async def page(
    context: Context, first: int | None, after: str | None, *, all: bool = False
) -> Connection[Reward]:
    """The cheapest first; those that can be seen now, or `all`."""
    size = page_size(first)
    cursor: Any = read_cursor(after, _price, UUID)
    async with context.db.read() as reading:
        rows = await queries.page(
            reading,
            member_id=_me(context),
            after=cursor,
            limit=size + 1,
            now=None if all else context.now,
        )
    return connection(
        rows,
        size=size,
        after=after,
        node=lambda found: Reward.of(found, context),
        key=lambda found: (found.terms.price, found.id),
    )


async def load_reward(info: Info, reward_id: UUID) -> Reward | None:
    """Also one that is not in the list; loads of one moment share one statement."""
    name, context = "rewards", info.context
    if name not in context.state:

        async def load(ids: list[UUID]) -> list[Reward | None]:
            async with context.db.read() as reading:
                found = await queries.rewards(reading, ids, member_id=_me(context))
            return [Reward.of(found[id], context) if id in found else None for id in ids]

        context.state[name] = DataLoader(load_fn=load)
    loaded: Reward | None = await context.state[name].load(reward_id)
    return loaded


@strawberry.type
class RewardsQuery:
    @strawberry.field(
        description="What can be bought with points now, cheapest first. Seen with the eyes of "
        "`me`."
    )
    async def rewards(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Reward]:
        viewer = info.context.viewer
        if viewer.member_id is None and viewer.staff_id is None:
            raise Unauthenticated
        return await page(info.context, first, after)


# Redemptions


@strawberry.type
class Redemption(PointsCause, WorklistSubject):
    state: rules.RedemptionState
    points: int = strawberry.field(description="What was paid.")
    reserved_at: datetime
    expires_at: datetime = strawberry.field(
        description="Points and stock go back then, unless it was fulfilled."
    )
    ended_at: datetime | None = strawberry.field(
        description="When it was fulfilled, cancelled or expired; null while reserved."
    )
    note: str | None = strawberry.field(
        description="Of whoever fulfilled or cancelled it; null when they wrote none."
    )
    reversed_at: datetime | None = strawberry.field(
        description="When the points of what was fulfilled were given back; null otherwise."
    )
    reversal_reason: str | None = strawberry.field(
        description="Of the employee who gave the points back; null otherwise."
    )
    row: strawberry.Private[Any]

    @strawberry.field
    async def reward(self, info: Info) -> Reward:
        return await load_reward(info, self.row.reward_id)  # type: ignore[return-value]

    @strawberry.field(
        description="Only for its owner, only while fulfilled; keep it out of caches on disk."
    )
    def voucher_code(self, info: Info) -> str | None:
        row, context = self.row, info.context
        is_theirs = row.member_id == _me(context)
        if row.code_id is None or not is_theirs or self.state != rules.RedemptionState.FULFILLED:
            return None
        if context.sealer is None:
            raise ConfigurationError("Set WELLWARD_VOUCHER_KEY to show voucher codes.")
        return codes.reveal(
            context.sealer, codes.Given(row.code_id, row.code_key_id, row.code_sealed)
        )

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `Redemption` of the tables, or a row with its columns."""
        return cls(
            id=strawberry.ID(encode(Kind.REDEMPTION, row.member_id, row.id)),
            state=rules.RedemptionState(row.state),
            points=row.points,
            reserved_at=row.reserved_at,
            expires_at=row.expires_at,
            ended_at=row.ended_at,
            note=row.note,
            reversed_at=row.reversed_at,
            reversal_reason=row.reversal_reason,
            row=row,
        )


@strawberry.type
class MemberRedemptions:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(description="What was bought with points, newest first.")
    async def redemptions(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[Redemption]:
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with info.context.db.read() as reading:
            rows = await queries.of_member(
                reading,
                self.profile.member_id,
                before=cursor[0] if cursor else None,
                limit=size + 1,
            )
        return connection(
            rows, size=size, after=after, node=Redemption.of, key=lambda row: (row.id,)
        )


async def _load_redemptions(info: Info, keys: Sequence[Key]) -> Mapping[Key, Redemption]:
    async with info.context.db.read() as reading:
        rows = await queries.redemptions(reading, keys)
    return {key: Redemption.of(row) for key, row in rows.items()}


async def _load_subjects(
    info: Info, keys: Sequence[SubjectKey]
) -> Mapping[SubjectKey, WorklistSubject]:
    found = await _load_redemptions(info, [(key.member_id, key.id) for key in keys])
    return {key: found[key.member_id, key.id] for key in keys if (key.member_id, key.id) in found}


CAUSES = {CauseKind.REDEMPTION: CauseType(Kind.REDEMPTION, Redemption, _load_redemptions)}
SUBJECTS: dict[str, Load] = {SUBJECT: _load_subjects}


async def _fetch_redemption(info: Info, id: GlobalId) -> Redemption | None:
    key = (id.owner_id, id.key)
    return (await _load_redemptions(info, [key])).get(key)


async def _fetch_reward(info: Info, id: GlobalId) -> Reward | None:
    """Members see what is in the list now, and what they have redeemed."""
    found = await load_reward(info, id.owner_id)
    if found is None or info.context.viewer.staff_id is not None:
        return found
    shelved = found.shelved
    redeemed = shelved.person is not None and shelved.person.redeemed > 0
    return found if redeemed or shelved.terms.visible.holds(info.context.now) else None


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.REDEMPTION: _fetch_redemption,
    Kind.REWARD: _fetch_reward,
}
