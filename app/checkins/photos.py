"""Uploaded photos: proven, stripped, kept once however often they are sent, forgotten unused."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, LargeBinary, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.storage import StoragePort
from app.checkins import images
from app.checkins.checks import checks
from app.checkins.models import Photo
from app.db import Database
from app.errors import ErrorCode, UserError
from app.health_tasks import queries, sentences
from app.members import service as members
from app.members.rules import ConsentState
from app.texts import Text

FORGET_BATCH = 100
ORPHAN_AGE = timedelta(days=1)
"""No upload takes so long: a file of this age without a row never gets one."""
_readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="photos")
"""Uploads are taken apart two at a time, so that many leave the processors to others."""

_STANDING = text(f"""
select {queries.CONSENT} as consent,
  (select count(*) from photos p where p.member_id = members.member_id
    and p.uploaded_at > :since) as lately,
  h.member_id as owner, h.photo_id,
  exists (select from photos p where p.member_id = h.member_id and p.id = h.photo_id
    and p.check_in_id is null) as unused
from members left join photo_hashes h on h.sha256 = :sha256
where members.member_id = :member_id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("sha256", type_=LargeBinary))
_CONSENT = text(
    f"select {queries.CONSENT} from members where members.member_id = :member_id"
).bindparams(bindparam("member_id", type_=Uuid))
# A picture that has its first is locked until this upload is over: the first is not forgotten
# without it.
_CLAIM = text("""
insert into photo_hashes (sha256, member_id, photo_id) values (:sha256, :member_id, :photo_id)
on conflict (sha256) do update set photo_id = photo_hashes.photo_id
returning photo_id = :photo_id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("photo_id", type_=Uuid),
    bindparam("sha256", type_=LargeBinary),
)
_UNUSED = text("""
select member_id, id, sha256 from photos where check_in_id is null and uploaded_at <= :before
order by uploaded_at limit :limit for update skip locked
""")
_FORGET = text("delete from photos where member_id = :member_id and id = :id").bindparams(
    bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid)
)
_LOCK_HASH = text("select from photo_hashes where sha256 = :sha256 for update").bindparams(
    bindparam("sha256", type_=LargeBinary)
)
_HAND_ON_HASH = text("""
update photo_hashes h set member_id = p.member_id, photo_id = p.id
from (select member_id, id from photos where sha256 = :sha256 and id <> :id
  order by uploaded_at, id limit 1) p
where h.sha256 = :sha256 and h.photo_id = :id
""").bindparams(bindparam("id", type_=Uuid), bindparam("sha256", type_=LargeBinary))
_FORGET_HASH = text(
    "delete from photo_hashes where sha256 = :sha256 and photo_id = :id"
).bindparams(bindparam("id", type_=Uuid), bindparam("sha256", type_=LargeBinary))
_KEPT = text("select id from photos where id = any(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(Uuid))
)
_FIND = text("select media_type from photos where member_id = :member_id and id = :id").bindparams(
    bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid)
)


class PhotoInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh="这不是完整的 JPEG、PNG 或 WebP 照片。",
                en="This is no whole photo in JPEG, PNG or WebP.",
            ),
        )


class TooManyPhotos(UserError):
    def __init__(self, *, most: int) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(zh=f"一天最多上传 {most} 张照片。", en=f"At most {most} photos a day."),
        )


class ConsentMissing(UserError):
    def __init__(self, consent: ConsentState) -> None:
        super().__init__(ErrorCode.CONSENT_MISSING, sentences.consent_missing(consent))


@dataclass(frozen=True, slots=True)
class Found:
    media_type: str
    content: bytes


async def keep(
    db: Database,
    storage: StoragePort,
    *,
    member_id: UUID,
    content: bytes,
    media_type: str,
    now: datetime,
) -> UUID:
    """The photo's id. Sent again before a check-in has used it, it is the same photo.

    Raises PhotoInvalid, TooManyPhotos, ConsentMissing.
    """
    async with db.read() as reading:
        consent = (await reading.execute(_CONSENT, {"member_id": member_id})).scalar_one()
    _require(queries.consent_of(consent))
    try:
        image = await asyncio.get_running_loop().run_in_executor(_readers, images.read, content)
    except images.ImageInvalid:
        raise PhotoInvalid from None
    if image.media_type != media_type:
        raise PhotoInvalid
    photo_id = uuid4()
    async with db.transaction() as session:
        # Uploads of one member come one after the other.
        await members.lock(session, member_id)
        earlier = await _look(session, member_id, image, now=now)
        if earlier is not None:
            return earlier
        await _add(session, member_id, photo_id, image, now=now)
        # Whatever happens from here on, a file without a row is found by `forget_orphans`:
        # a write cannot be called back, nor a commit whose answer was lost.
        await storage.put(photo_id.hex, image.content)
    return photo_id


def _require(consent: ConsentState) -> None:
    """Raises ConsentMissing."""
    if consent is not ConsentState.GRANTED:
        raise ConsentMissing(consent)


async def _look(
    session: AsyncSession, member_id: UUID, image: images.Image, *, now: datetime
) -> UUID | None:
    """The same photo, if it waits to be used. Raises TooManyPhotos, ConsentMissing."""
    keys: dict[str, Any] = {
        "member_id": member_id,
        "sha256": sha256(image.content).digest(),
        "since": now - timedelta(days=1),
    }
    row = (await session.execute(_STANDING, keys)).one()
    _require(queries.consent_of(row.consent))
    if row.owner == member_id and row.unused:
        found: UUID = row.photo_id
        return found
    if row.lately >= checks().photos.per_day_max:
        raise TooManyPhotos(most=checks().photos.per_day_max)
    return None


async def _add(
    session: AsyncSession, member_id: UUID, photo_id: UUID, image: images.Image, *, now: datetime
) -> None:
    digest = sha256(image.content).digest()
    keys = {"sha256": digest, "member_id": member_id, "photo_id": photo_id}
    is_first = (await session.execute(_CLAIM, keys)).scalar_one()
    session.add(
        Photo(
            member_id=member_id,
            id=photo_id,
            media_type=image.media_type,
            width=image.width,
            height=image.height,
            size_bytes=len(image.content),
            sha256=digest,
            seen_before=not is_first,
            uploaded_at=now,
        )
    )
    await session.flush()


async def find(
    db: Database, storage: StoragePort, *, member_id: UUID, photo_id: UUID
) -> Found | None:
    async with db.read() as reading:
        keys = {"member_id": member_id, "id": photo_id}
        media_type = (await reading.execute(_FIND, keys)).scalar_one_or_none()
    if media_type is None:
        return None
    content = await storage.get(photo_id.hex)
    return Found(media_type, content) if content is not None else None


async def forget_unused(db: Database, storage: StoragePort, *, now: datetime) -> int:
    """Delete photos that no check-in used in time; how many. The file goes first, so that a
    death in between leaves a row that the next run finds."""
    before = now - timedelta(days=checks().photos.unused_days)
    total = 0
    while True:
        async with db.transaction() as session:
            limits = {"before": before, "limit": FORGET_BATCH}
            found = (await session.execute(_UNUSED, limits)).all()
            # Hashes are locked in one order, whoever forgets.
            for row in sorted(found, key=lambda row: bytes(row.sha256)):
                await storage.delete(row.id.hex)
                picture = {"sha256": row.sha256, "id": row.id}
                await session.execute(_LOCK_HASH, {"sha256": row.sha256})
                await session.execute(_HAND_ON_HASH, picture)
                await session.execute(_FORGET_HASH, picture)
                await session.execute(_FORGET, {"member_id": row.member_id, "id": row.id})
        if not found:
            return total
        total += len(found)


async def forget_orphans(db: Database, storage: StoragePort, *, now: datetime) -> int:
    """Delete files that no photo has, of uploads that were cut short; how many."""
    total = 0
    async for keys in storage.older(now - ORPHAN_AGE):
        async with db.read() as reading:
            rows = await reading.execute(_KEPT, {"ids": [UUID(key) for key in keys]})
            kept = {row.id.hex for row in rows}
        for key in set(keys) - kept:
            await storage.delete(key)
            total += 1
    return total
