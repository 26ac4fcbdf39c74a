"""Photos over HTTP: uploaded by members, opened by the links of reviews, forgotten unused."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from app import main
from app.adapters import local_issuer
from app.adapters.storage import DirectoryStorage
from app.checkins import images, photos
from app.checkins.checks import checks
from app.config import Settings
from app.db import Database
from app.graphql.ids import Kind, encode
from app.members import service as members
from app.members.models import MemberSignIn, StaffSignIn
from tests.factories import NOON, consent, counts, guard, make_member, make_staff
from tests.images import JPEG, LOSSLESS, MAKER, WEBP, png
from tests.reviewing import review_of, verified_by
from tests.tasks_at_work import check_in, give_tasks, rows
from tests.toy_server import Toy, run_app
from tests.worklist import manager_of

PNG = "image/png"


class Clock:
    now: datetime = NOON


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Toy]:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    with run_app(main.create_app(settings, now=lambda: clock.now)) as site:
        yield site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "storage"


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.glob("*/*") if not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in found}


async def token_of(db: Database, tmp_path: Path, id: UUID, *, role: str = "member") -> str:
    """Of somebody who can sign in from now on."""
    subject = f"{role}:{id.hex}"
    made = insert(MemberSignIn).values(
        issuer=local_issuer.ISSUER, subject=subject, member_id=id, login=id.hex
    )
    if role == "staff":
        made = insert(StaffSignIn).values(issuer=local_issuer.ISSUER, subject=subject, staff_id=id)
    async with db.transaction() as session:
        await session.execute(made.on_conflict_do_nothing())
    return local_issuer.LocalIssuer(tmp_path).mint(subject, now=NOON)


async def upload(
    site: Toy, token: str | None, content: bytes, media_type: str = PNG, **headers: str
) -> httpx.Response:
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient() as client:
        return await client.post(
            f"{site.base}/photos", content=content, headers={"content-type": media_type, **headers}
        )


async def get(site: Toy, url: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(site.base + url)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(JPEG, "image/jpeg"), (png(text=MAKER), PNG), (WEBP, "image/webp"), (LOSSLESS, "image/webp")],
)
async def test_a_photo_is_kept_without_what_the_camera_wrote(
    db: Database, site: Toy, tmp_path: Path, folder: Path, content: bytes, media_type: str
) -> None:
    member = await make_member(db)
    token = await token_of(db, tmp_path, member)

    response = await upload(site, token, content, media_type)

    assert (response.status_code, list(response.json())) == (201, ["photoKey"])
    key = response.json()["photoKey"]
    assert files(folder) == {key: images.read(content).content}
    assert MAKER not in files(folder)[key]
    [row] = await rows(db, "select member_id, id, media_type, seen_before, check_in_id from photos")
    assert tuple(row) == (member, UUID(key), media_type, False, None)
    assert (folder / key[:2] / key).stat().st_mode & 0o077 == 0


async def test_who_gets_no_connection_in_time_is_told_to_send_it_again(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, pool_size=1, pool_timeout_seconds=3
    )
    member = await make_member(db)
    token = await token_of(db, tmp_path, member)
    with run_app(main.create_app(settings, now=lambda: NOON)) as site:
        assert (await upload(site, token, png())).status_code == 201  # its connections are open
        async with db.transaction() as session:
            await members.lock(session, member)
            uploads = [asyncio.create_task(upload(site, token, JPEG, "image/jpeg")) for _ in "12"]
            [late], [first] = await asyncio.wait(uploads, return_when=asyncio.FIRST_COMPLETED)
        assert code(late.result()) == (503, "BUSY")
        assert (await first).status_code == 201


async def test_refusals_keep_nothing(db: Database, site: Toy, tmp_path: Path, folder: Path) -> None:
    member = await make_member(db)
    token = await token_of(db, tmp_path, member)
    staff = await token_of(db, tmp_path, await make_staff(db), role="staff")
    never_asked = await make_member(db, consents=False)
    unasked = await token_of(db, tmp_path, never_asked)
    before = await counts(db)

    refused = [
        await upload(site, None, png()),
        await upload(site, staff, png()),
        await upload(site, "nonsense", png()),
        await upload(site, token, png(), "image/gif"),
        await upload(site, token, png(), "text/html"),
        await upload(site, token, png(), "image/jpeg"),  # it is none
        await upload(site, token, b"<script>alert(1)</script>"),
        await upload(site, token, b""),
        await upload(site, unasked, png()),
        await upload(site, token, png(), **{"x-acting-for": encode(Kind.MEMBER, never_asked)}),
    ]

    assert [code(it) for it in refused] == [
        (401, "UNAUTHENTICATED"),
        (401, "UNAUTHENTICATED"),
        (401, "UNAUTHENTICATED"),
        (415, "UNSUPPORTED_MEDIA_TYPE"),
        (415, "UNSUPPORTED_MEDIA_TYPE"),
        (422, "VALUE_OUT_OF_RANGE"),
        (422, "VALUE_OUT_OF_RANGE"),
        (422, "VALUE_OUT_OF_RANGE"),
        (403, "CONSENT_MISSING"),
        (403, "FORBIDDEN"),
    ]
    assert await counts(db) == before
    assert files(folder) == {}


async def test_a_large_file_is_refused_before_it_is_sent(
    db: Database, site: Toy, tmp_path: Path
) -> None:
    token = await token_of(db, tmp_path, await make_member(db))
    address = urlsplit(site.base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    length = checks().photos.bytes_max + 1
    head = f"POST /photos HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    writer.write(f"{head}content-type: image/png\r\ncontent-length: {length}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"BODY_TOO_LARGE" in answer
    assert await rows(db, "select count(*) from photos") == [(0,)]


async def test_a_guardian_uploads_for_a_child(db: Database, site: Toy, tmp_path: Path) -> None:
    child, guardian = await make_member(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=guardian)
    token = await token_of(db, tmp_path, guardian)
    headers = {"x-acting-for": encode(Kind.MEMBER, child)}
    assert (await upload(site, token, png(), **headers)).status_code == 201
    assert await rows(db, "select member_id from photos") == [(child,)]


async def test_sent_again_it_is_the_same_photo_until_it_is_used(
    db: Database, site: Toy, tmp_path: Path, folder: Path
) -> None:
    member = await make_member(db)
    tasks = await give_tasks(db, member, "medication")
    token = await token_of(db, tmp_path, member)

    answers = await asyncio.gather(*(upload(site, token, png()) for _ in range(8)))
    keys = {it.json()["photoKey"] for it in answers}
    assert len(keys) == len(files(folder)) == 1
    [key] = keys
    await check_in(db, member, tasks["medication"], evidence={"photoKey": key})
    again = (await upload(site, token, png(text=b"other words"))).json()["photoKey"]

    assert again != key
    found = dict(await rows(db, "select id, seen_before from photos"))
    assert found == {UUID(key): False, UUID(again): True}


async def test_the_same_picture_of_another_member_is_seen(
    db: Database, site: Toy, tmp_path: Path
) -> None:
    one, other = await make_member(db), await make_member(db)
    await upload(site, await token_of(db, tmp_path, one), png())
    await upload(site, await token_of(db, tmp_path, other), png())
    found = dict(await rows(db, "select member_id, seen_before from photos"))
    assert found == {one: False, other: True}


async def test_a_member_uploads_so_many_a_day(
    db: Database, site: Toy, tmp_path: Path, clock: Clock
) -> None:
    member = await make_member(db)
    token = await token_of(db, tmp_path, member)
    most = checks().photos.per_day_max
    answers = await asyncio.gather(
        *(upload(site, token, png(shade=shade)) for shade in range(most + 4))
    )
    assert sorted(it.status_code for it in answers) == [201] * most + [429] * 4
    assert await rows(db, "select count(*) from photos") == [(most,)]


async def reviewed_photo(db: Database, site: Toy, tmp_path: Path) -> tuple[UUID, UUID, str]:
    """Member, manager and review of a check-in with a photo."""
    member = await make_member(db)
    tasks = await give_tasks(db, member, "medication")
    await verified_by(db, member, "STAFF")
    manager = await manager_of(db, member)
    sent = await upload(site, await token_of(db, tmp_path, member), png())
    evidence = {"photoKey": sent.json()["photoKey"]}
    done = await check_in(db, member, tasks["medication"], evidence=evidence)
    assert done["checkIn"]["state"] == "IN_REVIEW"
    return member, manager, await review_of(db, member)


async def photo_url(site: Toy, token: str, review: str) -> str | None:
    query = "query ($id: ID!) { node(id: $id) { ... on Review { photoUrl } } }"
    async with httpx.AsyncClient() as client:
        response = await client.post(
            site.url,
            json={"query": query, "variables": {"id": review}},
            headers={"authorization": f"Bearer {token}"},
        )
    data: dict[str, Any] = response.json()["data"]["node"]
    url: str | None = data["photoUrl"]
    return url


async def test_a_review_opens_its_photo_for_five_minutes(
    db: Database, site: Toy, tmp_path: Path, clock: Clock
) -> None:
    member, manager, review = await reviewed_photo(db, site, tmp_path)
    token = await token_of(db, tmp_path, manager, role="staff")
    url = await photo_url(site, token, review)
    assert url is not None and url.startswith("/photos/")
    audited = len(await rows(db, "select 1 from audit_reads"))

    shown = await get(site, url)

    assert (shown.status_code, shown.content) == (200, png())
    headers = shown.headers
    assert (headers["content-type"], headers["cache-control"]) == (PNG, "no-store")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "sandbox" in headers["content-security-policy"]
    reads = await rows(
        db, "select member_id, staff_id, operation from audit_reads order by read_at, id"
    )
    assert len(reads) == audited + 1
    assert (member, manager, "photo") in [tuple(it) for it in reads]
    clock.now = NOON + timedelta(minutes=5) - timedelta(seconds=1)
    assert (await get(site, url)).status_code == 200
    clock.now = NOON + timedelta(minutes=5)
    assert code(await get(site, url)) == (403, "FORBIDDEN")


async def test_a_link_opens_nothing_else_and_for_nobody_else(
    db: Database, site: Toy, tmp_path: Path
) -> None:
    member, manager, review = await reviewed_photo(db, site, tmp_path)
    other = await make_staff(db)
    url = await photo_url(site, await token_of(db, tmp_path, manager, role="staff"), review)
    assert url is not None
    path, sent = urlsplit(url).path, dict(parse_qsl(urlsplit(url).query))
    changed = [
        {**sent, "by": other.hex},
        {**sent, "member": uuid4().hex},
        {**sent, "expires": str(int(sent["expires"]) + 60)},
        {**sent, "signature": "0" * 64},
        {**sent, "signature": "é"},
        {**sent, "more": "1"},
        {name: value for name, value in sent.items() if name != "expires"},
        {},
    ]
    for parameters in changed:
        assert code(await get(site, f"{path}?{urlencode(parameters)}")) == (403, "FORBIDDEN")
    assert code(await get(site, f"/photos/{uuid4().hex}?{urlencode(sent)}")) == (403, "FORBIDDEN")
    # The member is shown no link at all.
    mine = await photo_url(site, await token_of(db, tmp_path, member), review)
    assert mine is None
    # Who does not look after the member any more, or has left, sees nothing.
    for statement in (
        "update care_assignments set ended_at = now()",
        "update staff set active = false",
    ):
        async with db.write() as connection:
            await connection.execute(text(statement))
        assert code(await get(site, url)) == (403, "FORBIDDEN")


async def test_photos_that_nobody_used_are_forgotten(
    db: Database, site: Toy, tmp_path: Path, folder: Path
) -> None:
    member = await make_member(db)
    tasks = await give_tasks(db, member, "medication")
    token = await token_of(db, tmp_path, member)
    used = (await upload(site, token, png(shade=1))).json()["photoKey"]
    unused = (await upload(site, token, png(shade=2))).json()["photoKey"]
    await check_in(db, member, tasks["medication"], evidence={"photoKey": used})
    storage = DirectoryStorage(folder)
    week = NOON + timedelta(days=7)

    assert await photos.forget_unused(db, storage, now=week - timedelta(seconds=1)) == 0
    assert sorted(files(folder)) == sorted([used, unused])
    done = await asyncio.gather(*(photos.forget_unused(db, storage, now=week) for _ in range(3)))

    assert sum(done) == 1
    assert list(files(folder)) == [used]
    assert await rows(db, "select id from photos") == [(UUID(used),)]
    # It can be sent again, and was not seen before.
    again = (await upload(site, token, png(shade=2))).json()["photoKey"]
    assert await rows(db, "select seen_before from photos where id = :id", id=UUID(again)) == [
        (False,)
    ]


async def test_another_copy_is_the_first_once_the_first_is_forgotten(
    db: Database, site: Toy, tmp_path: Path, folder: Path
) -> None:
    storage = DirectoryStorage(folder)
    people = [await make_member(db) for _ in range(3)]
    for member in people[:2]:
        await upload(site, await token_of(db, tmp_path, member), png())
    async with db.write() as connection:
        await connection.execute(
            text(
                "update photos set uploaded_at = uploaded_at + interval '1 day' where member_id = :m"
            ),
            {"m": people[1]},
        )

    assert await photos.forget_unused(db, storage, now=NOON + timedelta(days=7)) == 1
    third = await upload(site, await token_of(db, tmp_path, people[2]), png())

    key = UUID(third.json()["photoKey"])
    assert await rows(db, "select seen_before from photos where id = :id", id=key) == [(True,)]
    assert await rows(db, "select member_id from photo_hashes") == [(people[1],)]
    # All forgotten together, nothing is left of the picture.
    assert await photos.forget_unused(db, storage, now=NOON + timedelta(days=30)) == 2
    assert await rows(db, "select 1 from photo_hashes") == []


async def test_an_upload_under_way_is_not_forgotten_with_the_first(
    db: Database, tmp_path: Path
) -> None:
    """It has seen that the picture has a first, and is not committed when that is forgotten."""
    first, second = await make_member(db), await make_member(db)

    class Waiting(DirectoryStorage):
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def put(self, key: str, content: bytes) -> None:
            self.begun.set()
            await self.go_on.wait()
            await super().put(key, content)

    def keep(storage: DirectoryStorage, member: UUID) -> Coroutine[Any, Any, UUID]:
        return photos.keep(db, storage, member_id=member, content=png(), media_type=PNG, now=NOON)

    storage = DirectoryStorage(tmp_path)
    await keep(storage, first)
    waiting = Waiting(tmp_path)
    upload = asyncio.create_task(keep(waiting, second))
    await waiting.begun.wait()
    forgetting = asyncio.create_task(
        photos.forget_unused(db, storage, now=NOON + timedelta(days=7))
    )
    await asyncio.sleep(0.3)
    waiting.go_on.set()
    await upload
    await forgetting
    left = await rows(db, "select member_id from photos")
    assert await rows(db, "select member_id from photo_hashes") == left


async def test_files_without_a_photo_are_forgotten_after_a_day(
    db: Database, site: Toy, tmp_path: Path, folder: Path
) -> None:
    token = await token_of(db, tmp_path, await make_member(db))
    used = (await upload(site, token, png())).json()["photoKey"]
    storage, orphan, fresh = DirectoryStorage(folder), uuid4().hex, uuid4().hex
    for key in (orphan, fresh):
        await storage.put(key, png())
    draft = folder / orphan[:2] / ".new-of-a-writer-that-died"
    draft.touch()
    old = (NOON - timedelta(days=1, seconds=1)).timestamp()
    for path in (folder / used[:2] / used, folder / orphan[:2] / orphan, draft):
        os.utime(path, (old, old))
    new = NOON.timestamp()
    os.utime(folder / fresh[:2] / fresh, (new, new))

    assert await photos.forget_orphans(db, storage, now=NOON) == 1

    assert sorted(files(folder)) == sorted([used, fresh])
    assert not draft.exists()


async def test_an_upload_cut_short_leaves_nothing(db: Database, tmp_path: Path) -> None:
    """The thread that writes cannot be stopped with the request."""
    member = await make_member(db)

    class Slow(DirectoryStorage):
        writing: asyncio.Task[None]

        async def put(self, key: str, content: bytes) -> None:
            self.writing = asyncio.create_task(super().put(key, content))
            await asyncio.sleep(60)

    storage = Slow(tmp_path)
    keeping = asyncio.create_task(
        photos.keep(db, storage, member_id=member, content=png(), media_type=PNG, now=NOON)
    )
    await asyncio.sleep(0.3)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await storage.writing
    assert await rows(db, "select 1 from photos") == []
    [key] = files(tmp_path)
    written = datetime.fromtimestamp((tmp_path / key[:2] / key).stat().st_mtime, UTC)
    assert await photos.forget_orphans(db, storage, now=written + timedelta(hours=23)) == 0
    assert await photos.forget_orphans(db, storage, now=written + timedelta(hours=25)) == 1
    assert files(tmp_path) == {}


async def test_without_consent_a_file_is_not_even_read(
    db: Database, site: Toy, tmp_path: Path
) -> None:
    token = await token_of(db, tmp_path, await make_member(db, consents=False))
    answer = await upload(site, token, b"no photo at all")
    assert code(answer) == (403, "CONSENT_MISSING")


async def test_a_withdrawn_consent_is_named(db: Database, site: Toy, tmp_path: Path) -> None:
    member = await make_member(db)
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    answer = await upload(site, await token_of(db, tmp_path, member), png())
    assert code(answer) == (403, "CONSENT_MISSING")
    assert "withdrew" in answer.json()["errors"][0]["message"]


async def test_a_storage_that_fails_leaves_no_photo(
    db: Database, site: Toy, tmp_path: Path, folder: Path
) -> None:
    member = await make_member(db)
    token = await token_of(db, tmp_path, member)
    for prefix in range(256):
        (folder / f"{prefix:02x}").touch()  # a file where a folder should be
    before = await counts(db)
    answer = await upload(site, token, png())
    assert answer.status_code == 500
    assert await counts(db) == before
