"""Earnings that are decided about, taken back or restated, and redemptions that are given back."""

from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.points import moves, rules
from app.points.earning import Cause, Rule, earn
from app.points.moves import Move
from app.points.posting import Ledger
from app.points.rules import Account, CauseKind, Decision, Expiry, Transfer, TransferKind
from app.texts import Text

_DECISIONS = text(
    "select decision from points_decisions where member_id = :member_id and earning_id = :id"
)
_DECIDE = text(
    """insert into points_decisions (member_id, earning_id, decision, decided_at)
       values (:member_id, :id, :decision, :now) on conflict do nothing"""
)


class AlreadySettled(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(zh="这笔积分已有决定。", en="It was decided already about these points."),
        )


class NotReversible(UserError):
    """Only an earning or a redemption can be reversed."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="这笔记录不能撤回。", en="This entry cannot be reversed."),
        )


async def settle(
    session: AsyncSession, *, member_id: UUID, transfer_id: UUID, accept: bool, now: datetime
) -> tuple[Transfer, ...]:
    """Decide about an earning that waits: the member gets it, or it is taken back. Once; a
    repeat with the same answer returns what was posted. Nothing is posted when it was restated
    to nothing meanwhile; it is decided all the same.

    Raises NotFound, AlreadySettled (also of an earning that never waited, or was reversed).
    """
    ledger, earning, group = await _earning(session, member_id, transfer_id, now)
    key = f"settlement:{earning.id}"
    done = _of_key(group, key)
    if done:
        if accept == any(transfer.kind == TransferKind.REVERSED for transfer in done):
            raise AlreadySettled
        return done
    decision = Decision.ACCEPTED if accept else Decision.REFUSED
    decisions = await _decisions(ledger, earning)
    if decision in decisions:
        return ()
    if decisions or not _waits(earning, group):
        raise AlreadySettled
    await ledger.expire()
    await ledger.know_lots_of(earning.id)
    waiting = [lot for lot in ledger.book.of_origin(earning.id) if lot.pending]
    decided = (
        moves.accepting(waiting, owed=ledger.owed, moment=ledger.moment)
        if accept
        else moves.taking_back(
            sum(lot.pending for lot in waiting),
            TransferKind.REVERSED,
            waiting=sum(lot.pending for lot in waiting),
            available=0,
        )
    )
    posted = await _correct(ledger, earning, decided, key=key)
    if not posted:
        await _remember(ledger, earning, decision)
    return posted


async def reverse(
    session: AsyncSession, *, member_id: UUID, transfer_id: UUID, now: datetime
) -> tuple[Transfer, ...]:
    """Take back an earning, with what restated it, or give back a redemption; at most once,
    and a repeat returns what was posted. Nothing may be left to move: then nothing is posted,
    and it is reversed all the same.

    What of an earning is spent is taken from other points, and else owed. Raises NotFound,
    NotReversible.
    """
    ledger = await Ledger.lock(session, member_id, now)
    found = await ledger.find(transfer_id)
    if found is None:
        raise NotFound(field="transferId")
    if found.kind == TransferKind.REDEEMED:
        return await _give_back(ledger, found)
    earning, group = await _earning_of(ledger, found)
    key = f"reversal:{earning.id}"
    done = _of_key(group, key)
    if done or Decision.REVERSED in await _decisions(ledger, earning):
        return done
    posted = await _post_difference(ledger, earning, group, 0, TransferKind.REVERSED, key=key)
    if not posted:
        await _remember(ledger, earning, Decision.REVERSED)
    return posted


async def restore_expired(
    session: AsyncSession,
    *,
    member_id: UUID,
    transfer_id: UUID,
    amount: int,
    key: str,
    expires: Expiry,
    now: datetime,
) -> int:
    """Give back what an EXPIRED transfer took, up to `amount` points (> 0), to be spent until
    `expires`; a debt is paid first. How many were given: once for a key, and never more than
    expired. They were earned before and do not count as earned again.

    Raises NotFound.
    """
    ledger = await Ledger.lock(session, member_id, now)
    found = await ledger.find(transfer_id)
    if found is None or found.credit != Account.EXPIRED:
        raise NotFound(field="transferId")
    given = await ledger.corrections(found.id)
    done = _of_key(given, key)
    if done:
        return sum(transfer.amount for transfer in done)
    left = min(amount, found.amount - sum(it.amount for it in given if it.debit == Account.EXPIRED))
    debt = min(left, ledger.owed)
    routes = ((Account.OWED, debt, None), (Account.AVAILABLE, left - debt, expires))
    moved = [
        Move(TransferKind.ADJUSTED, rules.Route(Account.EXPIRED, account), points, until)
        for account, points, until in routes
        if points
    ]
    cause = (CauseKind.TRANSFER, found.id)
    ledger.post(moved, key=key, cause=cause, corrects=found.id, local_date=found.local_date)
    await ledger.write()
    return left


async def restate(
    session: AsyncSession,
    *,
    member_id: UUID,
    cause: Cause,
    amount_now: int,
    rule: Rule,
    local_date: date,
    expires: Expiry,
    now: datetime,
) -> tuple[Transfer, ...]:
    """Have an earning come to `amount_now` points (>= 0) by posting the difference; nothing
    when there is none. `cause.key` is without a revision: the first earning has revision 0,
    and is made here when there is none; each restatement is the next one.

    An earning that was reversed or refused stays so. One that waits is restated as it waits.
    What is given after `expires` can be spent for the grace days from now on.
    """
    assert amount_now >= 0
    ledger = await Ledger.lock(session, member_id, now)
    first = await ledger.of_keys(f"{cause.key}:0")
    if not first:
        if amount_now == 0:
            return ()
        return (
            await earn(
                session,
                member_id=member_id,
                amount=amount_now,
                cause=Cause(cause.kind, cause.id, f"{cause.key}:0"),
                rule=rule,
                local_date=local_date,
                expires=expires,
                now=now,
            ),
        )
    earning, group = await _earning_of(ledger, first[0])
    decisions = await _decisions(ledger, earning)
    if decisions & {Decision.REFUSED, Decision.REVERSED} or any(
        transfer.kind == TransferKind.REVERSED for transfer in group
    ):
        return ()
    revisions = [_revision(transfer.cause_key, cause.key) for transfer in group]
    return await _post_difference(
        ledger,
        earning,
        group,
        amount_now,
        TransferKind.RESTATED,
        key=f"{cause.key}:{max(revisions) + 1}",
        given=(expires, rule, (cause.kind, cause.id)),
        waits=not decisions and _waits(earning, group),
    )


async def _earning(
    session: AsyncSession, member_id: UUID, transfer_id: UUID, now: datetime
) -> tuple[Ledger, Transfer, list[Transfer]]:
    ledger = await Ledger.lock(session, member_id, now)
    found = await ledger.find(transfer_id)
    if found is None:
        raise NotFound(field="transferId")
    return ledger, *await _earning_of(ledger, found)


async def _earning_of(ledger: Ledger, found: Transfer) -> tuple[Transfer, list[Transfer]]:
    """The first transfer of the earning that `found` belongs to, and all of them with it: an
    earning that pays a debt has two parts, and what restates or adjusts it adds to it.

    Raises NotReversible.
    """
    if found.debit != Account.ISSUED:
        raise NotReversible
    if found.corrects is not None:
        first = await ledger.find(found.corrects)
        assert first is not None
        found = first
    parts = await ledger.of_keys(found.cause_key.removesuffix("/2"))
    parts += await ledger.of_keys(f"{parts[0].cause_key}/2")
    return parts[0], parts + await ledger.corrections(parts[0].id)


async def _decisions(ledger: Ledger, earning: Transfer) -> set[Decision]:
    """Those that moved nothing."""
    of = {"member_id": earning.member_id, "id": earning.id}
    return {Decision(it) for it in (await ledger.connection.execute(_DECISIONS, of)).scalars()}


async def _remember(ledger: Ledger, earning: Transfer, decision: Decision) -> None:
    of = {"member_id": earning.member_id, "id": earning.id}
    await ledger.connection.execute(_DECIDE, {**of, "decision": decision, "now": ledger.moment.now})


def _waits(earning: Transfer, group: list[Transfer]) -> bool:
    """Whether an earning waits for a decision, however many points it has come to, as far as
    its transfers say."""
    if earning.credit != Account.PENDING:
        return False
    decided = {TransferKind.RELEASED, TransferKind.REVERSED}
    return not any(it.corrects == earning.id and it.kind in decided for it in group)


def _of_key(group: list[Transfer], key: str) -> tuple[Transfer, ...]:
    return tuple(it for it in group if it.cause_key == key or it.cause_key.startswith(f"{key}/"))


def _revision(key: str, base: str) -> int:
    """Of a transfer's key; -1 when it is none of a restatement."""
    revision = key.removeprefix(f"{base}:").partition("/")[0]
    return int(revision) if revision.isdigit() else -1


async def _post_difference(
    ledger: Ledger,
    earning: Transfer,
    group: list[Transfer],
    amount_now: int,
    kind: TransferKind,
    *,
    key: str,
    given: tuple[Expiry, Rule, tuple[CauseKind, UUID]] | None = None,
    waits: bool = False,
) -> tuple[Transfer, ...]:
    """`waits` is whether what is given has to wait for a decision."""
    await ledger.expire()
    await ledger.know_lots_of(earning.id)
    waiting = sum(lot.pending for lot in ledger.book.of_origin(earning.id))
    change = moves.difference(ledger.posted(earning.id, group), amount_now)
    balances = ledger.wallet.balances
    if change > 0:
        assert given is not None
        expires, rule, cause = given
        if expires.at <= ledger.moment.now:
            # As whatever else comes back late: it was not the member who took so long.
            grace = timedelta(days=ledger.moment.grace_days)
            expires = ledger.moment.day(ledger.moment.local_date + grace)
        routes = rules.earning(balances, change, pending=waits)
        moved = [
            Move(kind, route, points, None if route.credit == Account.OWED else expires)
            for route, points in routes
        ]
        return await _correct(ledger, earning, moved, key=key, rule=rule, cause=cause)
    await ledger.know_oldest(-change)
    taken = moves.taking_back(-change, kind, waiting=waiting, available=balances.available)
    return await _correct(ledger, earning, taken, key=key)


async def _give_back(ledger: Ledger, redeemed: Transfer) -> tuple[Transfer, ...]:
    done = _of_key(await ledger.corrections(redeemed.id), f"reversal:{redeemed.id}")
    if done:
        return done
    await ledger.expire()
    found = await ledger.know_hold(redeemed.corrects or redeemed.id)
    assert found is not None, "a redemption without its hold"
    given = moves.restoring(ledger.book, found, owed=ledger.owed, moment=ledger.moment)
    assert redeemed.cause_kind is not None and redeemed.cause_id is not None
    posted = ledger.post(
        given,
        key=f"reversal:{redeemed.id}",
        cause=(redeemed.cause_kind, redeemed.cause_id),
        corrects=redeemed.id,
    )
    await ledger.write()
    return posted


async def _correct(
    ledger: Ledger,
    earning: Transfer,
    moved: moves.Moves,
    *,
    key: str,
    rule: Rule | None = None,
    cause: tuple[CauseKind, UUID] | None = None,
) -> tuple[Transfer, ...]:
    """Post what is about an earning, on the earning's own day."""
    if rule is None and earning.rule_code is not None:
        rule = Rule(earning.rule_version, earning.rule_code)
    posted = ledger.post(
        moved,
        key=key,
        cause=cause or (CauseKind.TRANSFER, earning.id),
        rule=rule,
        corrects=earning.id,
        local_date=earning.local_date,
    )
    await ledger.write()
    return posted
