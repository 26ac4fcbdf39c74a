"""Publishing rewards: each change of terms is a version, each change is written down."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ConfigurationError, ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.rewards.models import Reward, RewardEvent, RewardVersion
from app.rewards.rules import Fulfilment, RewardEventKind
from app.rewards.terms import STOCK_MAX, DataReward, NewReward, Terms, of_definition, read_rewards
from app.texts import Text


class RewardChanged(ConfigurationError):
    def __init__(self, code: str, version: int) -> None:
        super().__init__(
            f"Reward {code!r} version {version} is published and differs from the data file; "
            f"give the change the next version instead."
        )


class RewardFixed(ConfigurationError):
    def __init__(self, code: str, version: int) -> None:
        super().__init__(
            f"Reward {code!r} version {version} is of another kind, or fulfilled in another way, "
            f"than the version before it; those stay. Give it another code instead."
        )


class CodeTaken(UserError):
    def __init__(self, code: str) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh=f"已有编号为 {code!r} 的奖励。", en=f"There is a reward {code!r} already."),
            field="code",
        )


class RewardOutdated(UserError):
    def __init__(self, *, sent: int, current: int) -> None:
        super().__init__(
            ErrorCode.VERSION_OUTDATED,
            Text(
                zh=f"第 {sent} 版已被第 {current} 版取代，请重新打开后再改。",
                en=f"Version {sent} was followed by version {current}; open it again.",
            ),
            field="version",
        )


class FulfilmentFixed(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="奖励的种类和履行方式不能更改，请另建一个奖励。",
                en="The kind of a reward and how it is fulfilled stay; create another reward.",
            ),
            field="terms.kind",
        )


class StockNotCounted(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="该奖励不限量，或其库存由导入的券码决定。",
                en="This reward is unlimited, or its stock is the codes that were imported.",
            ),
            field="rewardId",
        )


class StockOutOfRange(UserError):
    def __init__(self, *, stock: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"现有库存 {stock}，更改后须在 0 至 {STOCK_MAX} 之间。",
                en=f"There are {stock}; it must be from 0 to {STOCK_MAX} afterwards.",
            ),
            field="change",
        )


async def load_rewards(
    session: AsyncSession, *, now: datetime, rewards: Iterable[DataReward] | None = None
) -> int:
    """Publish the versions that are new, by default those of the programme's own file; how
    many they were. Raises RewardChanged when a published one differs from the data file, and
    RewardFixed when a new one is of another kind."""
    published = await session.exec(
        select(Reward.code, RewardVersion.version, RewardVersion.hash).join(
            RewardVersion, col(RewardVersion.reward_id) == Reward.id
        )
    )
    known = {(code, version): bytes(hashed) for code, version, hashed in published.all()}
    added = 0
    for given in read_rewards() if rewards is None else rewards:
        earlier = known.get((given.code, given.version))
        if earlier is None:
            await _publish_given(session, given, now=now)
            added += 1
        elif earlier != given.terms.hash:
            raise RewardChanged(given.code, given.version)
    return added


async def _publish_given(session: AsyncSession, given: DataReward, *, now: datetime) -> None:
    """Raises RewardChanged for a version that employees have overtaken, RewardFixed."""
    reward = (
        await session.exec(select(Reward).where(Reward.code == given.code).with_for_update())
    ).one_or_none()
    if reward is None:
        reward = Reward(id=new_id(now), code=given.code, version=given.version, stock=given.stock)
        await _create(session, reward, given.terms, staff_id=None, now=now)
        return
    if given.version < reward.version:
        raise RewardChanged(given.code, given.version)
    if not await _is_of_kind(session, reward, given.terms):
        raise RewardFixed(given.code, given.version)
    await _change(session, reward, given.terms, version=given.version, staff_id=None, now=now)


async def create(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    new: NewReward,
    now: datetime,
) -> tuple[UUID, bool]:
    """A new reward; its id, and whether this request was answered before.
    Raises CodeTaken, RequestReused."""
    reward_id = new_id(now)
    values = new.model_dump(mode="json")
    earlier = await _claim(session, staff_id, request_id, "createReward", reward_id, values, now)
    if earlier is not None:
        return earlier, True
    reward = Reward(id=reward_id, code=new.code, version=1, stock=new.stock)
    if not await _create(session, reward, new.terms, staff_id=staff_id, now=now):
        raise CodeTaken(new.code)
    return reward_id, False


async def update(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    reward_id: UUID,
    version: int,
    terms: Terms,
    now: datetime,
) -> bool:
    """Publish other terms as the version after `version`; whether this request was answered
    before. Raises NotFound, RewardOutdated, FulfilmentFixed, RequestReused."""
    values = {"rewardId": reward_id, "version": version, "terms": terms.definition}
    if await _claim(session, staff_id, request_id, "updateReward", reward_id, values, now):
        return True
    reward = await _locked(session, reward_id)
    if reward.version != version:
        raise RewardOutdated(sent=version, current=reward.version)
    if not await _is_of_kind(session, reward, terms):
        raise FulfilmentFixed
    await _change(session, reward, terms, version=version + 1, staff_id=staff_id, now=now)
    return False


async def change_stock(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    reward_id: UUID,
    change: int,
    now: datetime,
) -> bool:
    """Add to the stock, or take from it; whether this request was answered before.
    Raises NotFound, StockNotCounted, StockOutOfRange, RequestReused."""
    values = {"rewardId": reward_id, "change": change}
    if await _claim(session, staff_id, request_id, "changeRewardStock", reward_id, values, now):
        return True
    reward = await _locked(session, reward_id)
    terms = await terms_of(session, reward.id, reward.version)
    if reward.stock is None or terms.fulfilment is Fulfilment.VOUCHER_CODE:
        raise StockNotCounted
    if not 0 <= reward.stock + change <= STOCK_MAX:
        raise StockOutOfRange(stock=reward.stock)
    restock(session, reward, change, RewardEventKind.STOCKED, staff_id=staff_id, now=now)
    return False


def restock(
    session: AsyncSession,
    reward: Reward,
    change: int,
    kind: RewardEventKind,
    *,
    staff_id: UUID | None,
    now: datetime,
) -> None:
    """Change the stock of a limited reward, which is locked."""
    assert reward.stock is not None
    reward.stock += change
    _record(session, reward, kind, staff_id=staff_id, now=now, stock_change=change)


async def lock(session: AsyncSession, reward_id: UUID) -> Reward | None:
    """The reward as it is now; before any wallet is locked. Redemptions of a limited one come
    one after the other; those of an unlimited one only wait for a change of its terms."""
    limited = (
        await session.exec(
            select(Reward.id).where(Reward.id == reward_id, col(Reward.stock).is_not(None))
        )
    ).one_or_none()
    return (
        await session.exec(
            select(Reward)
            .where(Reward.id == reward_id)
            .with_for_update(read=limited is None, key_share=limited is not None)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()


async def terms_of(session: AsyncSession, reward_id: UUID, version: int) -> Terms:
    published = await session.get_one(RewardVersion, (reward_id, version))
    return of_definition(published.definition)


async def _is_of_kind(session: AsyncSession, reward: Reward, terms: Terms) -> bool:
    """Whether its kind and fulfilment, which stay, are those of these terms."""
    before = await terms_of(session, reward.id, reward.version)
    return (before.kind, before.fulfilment) == (terms.kind, terms.fulfilment)


async def _locked(session: AsyncSession, reward_id: UUID) -> Reward:
    """For a change of the reward itself. Raises NotFound."""
    reward = (
        await session.exec(
            select(Reward)
            .where(Reward.id == reward_id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if reward is None:
        raise NotFound(field="rewardId")
    return reward


async def _claim(
    session: AsyncSession,
    staff_id: UUID,
    request_id: UUID,
    operation: str,
    result: UUID,
    values: Mapping[str, Any],
    now: datetime,
) -> UUID | None:
    return await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation=operation,
        values=values,
        result=result,
        now=now,
    )


async def _create(
    session: AsyncSession, reward: Reward, terms: Terms, *, staff_id: UUID | None, now: datetime
) -> bool:
    """Whether its code was free."""
    reward.events = 1
    made = insert(Reward).values(reward.model_dump()).on_conflict_do_nothing()
    if (await session.execute(made.returning(col(Reward.id)))).one_or_none() is None:
        return False
    session.add(_version(reward, terms))
    session.add(
        RewardEvent(
            reward_id=reward.id,
            place=reward.events,
            kind=RewardEventKind.CREATED,
            staff_id=staff_id,
            version=reward.version,
            stock_change=reward.stock or 0,
            at=now,
        )
    )
    await session.flush()
    return True


async def _change(
    session: AsyncSession,
    reward: Reward,
    terms: Terms,
    *,
    version: int,
    staff_id: UUID | None,
    now: datetime,
) -> None:
    reward.version = version
    session.add(_version(reward, terms))
    _record(session, reward, RewardEventKind.CHANGED, staff_id=staff_id, now=now)
    await session.flush()


def _version(reward: Reward, terms: Terms) -> RewardVersion:
    return RewardVersion(
        reward_id=reward.id,
        version=reward.version,
        hash=terms.hash,
        price=terms.price,
        visible_from=terms.visible_from,
        visible_to=terms.visible_to,
        definition=terms.definition,
    )


def _record(
    session: AsyncSession,
    reward: Reward,
    kind: RewardEventKind,
    *,
    staff_id: UUID | None,
    now: datetime,
    stock_change: int = 0,
) -> None:
    reward.events += 1
    session.add(
        RewardEvent(
            reward_id=reward.id,
            place=reward.events,
            kind=kind,
            staff_id=staff_id,
            version=reward.version,
            stock_change=stock_change,
            at=now,
        )
    )
