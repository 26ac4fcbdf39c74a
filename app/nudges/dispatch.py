"""From a push batch to phones: in small groups, with no transaction open while they are sent."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import structlog

from app.adapters.push import PushMessage, PushOutcome, PushProvider, PushResult
from app.graphql import ids
from app.jobs.queue import JobContext
from app.nudges import addressed, gate, leases, outbox, rules
from app.nudges.leases import Lease
from app.nudges.links import Site
from app.nudges.outbox import Push, Recorded

GROUP_MAX = 25
GROUPS_AT_ONCE = 2
"""By one service: while one group's results are written, another one is sent. Together they
bound what a killed process leaves unknown of it: 50."""
ATTEMPTS_MAX = 8
"""With the backoff, the last one comes about a quarter of an hour after the first."""
BACKOFF_MIN = timedelta(seconds=10)
BACKOFF_MAX = timedelta(minutes=5)
UNAUTHORISED_PAUSE = timedelta(minutes=1)
SILENT_PAUSE = BACKOFF_MIN
_SILENT = ("TIMEOUT", "CONNECTION")
_TITLE = "Wellward"
_TTL_MIN = timedelta(seconds=1)

_log = structlog.get_logger(__name__)
_groups: "WeakKeyDictionary[PushProvider, dict[str, asyncio.Semaphore]]" = WeakKeyDictionary()


async def dispatch(context: JobContext, batch_id: UUID) -> None:
    """Send what is due of a batch. Does nothing when the batch is finished or another worker
    has it in hand; run again after a crash, it goes on where the crash was."""
    lease = Lease(batch_id, uuid4())
    if not await leases.take(context.db, lease, now=context.now()):
        return
    not_before: datetime | None = None
    try:
        async with _extended(context, lease):
            pause = await _drain(context, lease)
            if pause is not None:
                not_before = context.now() + pause
    finally:
        await leases.release(context.db, lease, not_before=not_before, now=context.now())


@asynccontextmanager
async def _extended(context: JobContext, lease: Lease) -> AsyncIterator[None]:
    """Keep the lease while waiting for the provider."""

    async def extend() -> None:
        while True:
            await asyncio.sleep(leases.LEASE.total_seconds() / 3)
            try:
                async with context.db.write() as connection:
                    await leases.extend(connection, lease, now=context.now())
            except Exception as error:  # noqa: BLE001 - the next group finds out what it means
                _log.warning("push_lease_not_extended", error=type(error).__name__)

    extending = asyncio.create_task(extend())
    try:
        yield
    finally:
        extending.cancel()
        await asyncio.wait({extending})


async def _drain(context: JobContext, lease: Lease) -> timedelta | None:
    """Group after group until nothing is due; else for how long to leave the provider alone."""
    provider, site = context.push, Site.of(context.settings)
    service = await outbox.service_of(context.db, lease.batch_id)
    while True:
        async with _turn(provider, service):
            group = await outbox.next_group(
                context.db,
                lease,
                services=provider.services if provider else (),
                limit=GROUP_MAX,
                now=context.now(),
                site=site,
            )
            if group is None or group.looked_at == 0:
                return None
            if not group.pushes:
                continue
            assert provider is not None  # without one the gate lets nothing through
            results = await _send(context, provider, group.pushes)
        pause = pause_after(results)
        if pause is not None:
            if any(it.outcome is PushOutcome.UNAUTHORISED for it in results):
                _log.error("push_unauthorised", service=service, batch_id=str(lease.batch_id))
            else:
                _log.warning("push_paused", service=service, batch_id=str(lease.batch_id))
            return pause


def pause_after(results: Sequence[PushResult]) -> timedelta | None:
    """For how long a batch steps aside after a group that ended like this: its job then belongs
    to others, and what it has left is not lost on a provider that takes nothing."""
    outcomes = {it.outcome for it in results}
    if PushOutcome.SENT in outcomes:
        # The fault is of one platform or one phone, not of everything.
        return None
    if PushOutcome.UNAUTHORISED in outcomes:
        return UNAUTHORISED_PAUSE
    if all(it.code in _SILENT for it in results):
        return SILENT_PAUSE
    asked = max((it.retry_after for it in results if it.retry_after), default=None)
    if outcomes == {PushOutcome.RETRY} and asked is not None:
        return min(asked, BACKOFF_MAX)
    return None


@asynccontextmanager
async def _turn(provider: PushProvider | None, service: str) -> AsyncIterator[None]:
    if provider is None:
        yield
        return
    turns = _groups.setdefault(provider, {})
    async with turns.setdefault(service, asyncio.Semaphore(GROUPS_AT_ONCE)):
        yield


async def _send(
    context: JobContext, provider: PushProvider, pushes: Sequence[Push]
) -> Sequence[PushResult]:
    """All at the same time; how they ended is committed before this returns, also when it is
    interrupted."""
    now = context.now()
    sending = [asyncio.create_task(provider.send(_message(push, now=now))) for push in pushes]
    try:
        await asyncio.wait(sending)
    finally:
        for task in sending:
            task.cancel()
        ended = await asyncio.gather(*sending, return_exceptions=True)
        results = [_result(it) for it in ended]
        now = context.now()
        recorded = [
            (push, recorded_of(result, push, chance=random.random(), now=now))
            for push, result in zip(pushes, results, strict=True)
        ]
        # Mail servers tell only of what comes back.
        awaiting = (gate.Channel.SMS,) if "sms" in context.settings.message_secrets else ()
        await outbox.record(context.db, recorded, now=now, awaiting=awaiting)
    return results


def _result(ended: PushResult | BaseException) -> PushResult:
    """A request that was cut off may have arrived."""
    if isinstance(ended, PushResult):
        return ended
    if not isinstance(ended, asyncio.CancelledError):
        _log.error("push_failed", error=type(ended).__name__, exc_info=ended)
    return PushResult(PushOutcome.UNKNOWN, code="INTERRUPTED")


def _message(push: Push, *, now: datetime) -> PushMessage:
    title, body = _said(push)
    return PushMessage(
        token=push.token.value,
        service=push.token.provider,
        title=title,
        body=body,
        data={},
        collapse_key=push.message_id.hex,
        message_id=ids.encode(ids.Kind.MESSAGE, push.member_id, push.message_id),
        ttl=max(push.expires_at - now, _TTL_MIN),
        unsubscribe=push.links.unsubscribe,
    )


def _said(push: Push) -> tuple[str, str]:
    """Title and body."""
    neutral = rules.lock_screen_text(push.template).to(push.locale)
    if push.is_push:
        return _TITLE, neutral
    words = addressed.Words(*(push.words or (_TITLE, neutral)), push.action_label)
    link, locale = push.links.click, push.locale
    if push.token.provider == gate.Channel.SMS:
        is_advertising = push.is_advertising
        said = addressed.sms(words, link=link, is_advertising=is_advertising, locale=locale)
    else:
        unsubscribe = push.links.unsubscribe
        said = addressed.email(words, link=link, unsubscribe=unsubscribe, locale=locale)
    return words.title, said


def recorded_of(result: PushResult, push: Push, *, chance: float, now: datetime) -> Recorded:
    """What to keep of one attempt. `chance` in [0, 1) spreads repetitions, so that what failed
    together does not return together."""
    match result.outcome:
        case PushOutcome.SENT:
            return Recorded("SENT", provider_message_id=result.provider_message_id)
        case PushOutcome.TOKEN_GONE:
            return Recorded("TOKEN_REMOVED", result.code)
        case PushOutcome.REJECTED:
            return Recorded("FAILED", result.code)
        case PushOutcome.UNKNOWN:
            return Recorded("UNKNOWN", result.code)
        case PushOutcome.UNAUTHORISED:
            return Recorded(
                "QUEUED",
                "UNAUTHORISED",
                next_attempt_at=now + UNAUTHORISED_PAUSE,
                is_counted=False,
            )
        case PushOutcome.RETRY:
            next_at = now + retry_in(push.attempts, result.retry_after, chance=chance)
            if push.attempts >= ATTEMPTS_MAX or next_at >= push.expires_at:
                return Recorded("FAILED", result.code)
            return Recorded("QUEUED", result.code, next_attempt_at=next_at)


def retry_in(attempts: int, retry_after: timedelta | None, *, chance: float) -> timedelta:
    """How long to wait after attempt number `attempts` (1, 2, ...): never shorter than the
    provider asked for."""
    longest: timedelta = min(BACKOFF_MIN * 2 ** (attempts - 1), BACKOFF_MAX)
    backoff = longest * (1 + chance) / 2
    return max(backoff, (retry_after or timedelta(0)) * (1 + chance / 10))
