"""Sends the codes that confirm numbers and addresses: at most once each.

A code is made just before it is sent and kept as a hash, so that no queue and no backup holds one.
It is asked for by whoever reads it, so neither gate nor caps concern it: it has limits of its own.
"""

from datetime import timedelta
from secrets import randbelow
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import DateTime, LargeBinary, Uuid, bindparam, text

from app.adapters.push import PushMessage, PushOutcome
from app.jobs.clock import clock
from app.jobs.queue import JobContext, job
from app.members import confirming
from app.members.confirming import Contact
from app.texts import Text

_SERVICE = {Contact.PHONE: "SMS", Contact.EMAIL: "EMAIL"}
_TITLE = Text(zh="Wellward 验证码", en="Wellward code")
_BODY = Text(
    zh="验证码 {code}，{minutes} 分钟内有效。若非本人操作，请忽略。",
    en="Your code is {code}, good for {minutes} minutes. Ignore it if you did not ask for it.",
)

_log = structlog.get_logger(__name__)


class CodeNotSent(Exception):
    """The provider did not take it: the job comes again while the code is worth anything."""


# Only the newest, and only to where the member is to be reached now.
_TAKE = text("""
select c.contact, c.address_hash, c.expires_at, m.phone, m.email, m.locale
from contact_challenges c join members m on m.member_id = c.member_id and m.erased_at is null
where c.member_id = :member_id and c.id = :id and c.code_hash is null and c.expires_at > :now
  and not exists (select from contact_challenges o where o.member_id = c.member_id
    and o.contact = c.contact and (o.requested_at, o.id) > (c.requested_at, c.id))
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)
_SET = text("""
update contact_challenges set code_hash = :code_hash, outcome = :outcome
where member_id = :member_id and id = :id
""").bindparams(
    bindparam("code_hash", type_=LargeBinary),
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
)
# One of several runs of the same job, which may overlap once a worker was given up.
_CLAIM = text("""
update contact_challenges set code_hash = :code_hash
where member_id = :member_id and id = :id and code_hash is null
""").bindparams(
    bindparam("code_hash", type_=LargeBinary),
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
)
_DEAD = {
    contact: text(f"""
update members set {name}_dead_at = :now where member_id = :member_id and {name} = :address
""").bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("member_id", type_=Uuid))
    for contact, name in ((Contact.PHONE, "phone"), (Contact.EMAIL, "email"))
}


@job(confirming.SEND_JOB, concurrency=8, attempts_max=5)
async def send_code(context: JobContext, payload: dict[str, Any]) -> None:
    """Raises CodeNotSent."""
    named = {"member_id": UUID(payload["member"]), "id": UUID(payload["challenge"])}
    now = context.now()
    code = f"{randbelow(1_000_000):06d}"
    hashed = confirming.code_hash(named["id"], code)
    async with context.db.write() as connection:
        row = (await connection.execute(_TAKE, {**named, "now": now})).one_or_none()
        if row is None:
            return
        contact = Contact(row.contact)
        address = row.phone if contact is Contact.PHONE else row.email
        if address is None or confirming.hash_of(address) != row.address_hash:
            return
        provider = context.push
        if provider is None or _SERVICE[contact] not in provider.services:
            _log.warning("contact_code_no_provider", contact=contact.value)
            await connection.execute(_SET, {**named, "code_hash": None, "outcome": "no_provider"})
            return
        # From its commit on it is not sent again, whatever becomes of this worker.
        claimed = await connection.execute(_CLAIM, {**named, "code_hash": hashed})
        if claimed.rowcount == 0:
            return
    minutes = int(confirming.CODE_FOR / timedelta(minutes=1))
    result = await provider.send(
        PushMessage(
            token=address,
            service=_SERVICE[contact],
            title=_TITLE.to(row.locale),
            body=_BODY.to(row.locale).format(code=code, minutes=minutes),
            data={},
            collapse_key=named["id"].hex,
            message_id=named["id"].hex,
            ttl=row.expires_at - now,
        )
    )
    is_open = result.outcome in (PushOutcome.RETRY, PushOutcome.UNAUTHORISED)
    async with context.db.write() as connection:
        kept = {"code_hash": None if is_open else hashed, "outcome": result.outcome.value}
        await connection.execute(_SET, {**named, **kept})
        if result.outcome is PushOutcome.TOKEN_GONE:
            gone = {"member_id": named["member_id"], "address": address, "now": context.now()}
            await connection.execute(_DEAD[contact], gone)
    if is_open:
        raise CodeNotSent(result.outcome.value)


@clock("members.forget_contact_codes", every=timedelta(days=1))
async def forget_codes(context: JobContext, _payload: dict[str, Any]) -> None:
    async with context.db.transaction() as session:
        await confirming.prune(session, now=context.now())
