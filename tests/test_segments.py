"""Previews, saved segments with their history, imported lists."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.members import filter_names, filters, segments
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)

CREATE = """
mutation($input: CreateSegmentInput!) { createSegment(input: $input) { __typename
  ... on CreateSegmentPayload { replayed segment { id name filter memberCount } }
  ... on UserError { code field } } }
"""
IMPORT = """
mutation($input: ImportSegmentInput!) { importSegment(input: $input) { __typename
  ... on ImportSegmentPayload { replayed members unknownLines duplicateLines segment { id memberCount filter } }
  ... on UserError { code message field } } }
"""
ARCHIVE = """
mutation($input: ArchiveSegmentInput!) { archiveSegment(input: $input) { __typename
  ... on ArchiveSegmentPayload { replayed segment { id archivedAt } } ... on UserError { code message field } } }
"""
LIST = "query($first: Int) { savedSegments(first: $first) { edges { node { id name } } pageInfo { hasNextPage } } }"
COUNTS = "{ savedSegments { edges { node { memberCount } } } }"
WOMEN = {"sexes": ["FEMALE"]}


async def manager(db: Database, *roles: str):
    return as_staff(
        db,
        await make_staff(db, *(roles or ("CAMPAIGN_MANAGER",))),
        *(roles or ("CAMPAIGN_MANAGER",)),
    )


async def create(db: Database, context, wanted=WOMEN, name="Women", request=None) -> dict:
    sent = {"input": {"requestId": str(request or uuid4()), "name": name, "filter": wanted}}
    return (await execute(CREATE, sent, context=context))["createSegment"]


async def load(db: Database, context, content: str, request=None, **more) -> dict:
    wanted = {"requestId": str(request or uuid4()), "name": "List", "csv": content}
    sent = {"input": wanted | more}
    return (await execute(IMPORT, sent, context=context))["importSegment"]


async def preview(context, wanted) -> dict:
    answer = await execute(
        operation("SegmentPreview", "console"), {"filter": wanted}, context=context
    )
    return answer["segmentPreview"]


async def inside(db: Database) -> set:
    async with db.read() as connection:
        rows = await connection.execute(
            text("select member_id from segment_memberships where left_at is null")
        )
        return set(rows.scalars())


async def refresh(db: Database, id: str, now=NOON) -> int:
    from app.graphql.ids import parse

    return sum([it async for it in segments.refresh(db, parse(id).owner_id, now=now)])


async def test_a_preview_counts_everybody_and_shows_whom_one_may_see(db: Database):
    members = [await make_member(db) for _ in range(7)]
    await make_member(db, sex="MALE")
    staff = await make_staff(db)
    await assign(db, staff, members[0])
    admin = await preview(await manager(db, "ADMIN"), WOMEN)
    assert (admin["count"], len(admin["sample"])) == (7, 5)
    own = await preview(as_staff(db, staff), WOMEN)
    assert own["count"] == 7
    assert [it["id"] for it in own["sample"]] == [encode(Kind.MEMBER, members[0])]
    assert (await preview(await manager(db), WOMEN)) == {"count": 7, "sample": []}
    async with db.read() as connection:
        audited = await connection.execute(text("select count(*) from audit_reads"))
        assert audited.scalar_one() == 6


async def test_a_count_does_not_tell_of_one_persons_health(db: Database):
    """Whoever lists one person and asks for a tier would learn theirs."""
    from app.campaigns import facts as _facts  # noqa: F401 - registers what domains know

    for _ in range(12):
        await make_member(db)
    wanted = {"all": [WOMEN, {"not": {"riskTiers": ["HIGH"]}}]}
    context = await manager(db)
    assert (await preview(context, wanted))["count"] == 10
    assert (await preview(await manager(db, "ADMIN"), wanted))["count"] == 12
    made = await create(db, context, wanted)
    id = made["segment"]["id"]
    await refresh(db, id)
    listed = (await execute(COUNTS, context=context))["savedSegments"]["edges"]
    assert [it["node"]["memberCount"] for it in listed] == [10]
    assert (await preview(context, {"savedSegments": [id]}))["count"] == 10
    assert (await preview(context, WOMEN))["count"] == 12
    one = await load(db, context, f"id\n{encode(Kind.MEMBER, next(iter(await inside(db))))}")
    both = [{"savedSegments": [it]} for it in (id, one["segment"]["id"])]
    assert (await preview(context, {"all": both}))["count"] == 0


async def test_a_preview_is_for_employees(db: Database):
    member = await make_member(db)
    document = operation("SegmentPreview", "console")
    assert await refused(document, {"filter": WOMEN}, context=as_member(db, member)) == "FORBIDDEN"
    bad = {"filter": {"regions": []}}
    assert await refused(document, bad, context=await manager(db)) == "FILTER_INVALID"


async def test_a_segment_gives_its_filter_back_and_keeps_who_was_in_it(db: Database):
    woman, man = await make_member(db), await make_member(db, sex="MALE")
    context = await manager(db)
    made = await create(db, context, {"not": {"not": {"all": [WOMEN]}}})
    id = made["segment"]["id"]
    assert made["segment"]["filter"] == {"not": {"not": {"all": [WOMEN]}}}
    assert await inside(db) == set()
    assert await refresh(db, id) == 1
    assert await inside(db) == {woman}
    async with db.write() as connection:
        swap = "update members set sex = case when sex = 'MALE' then 'FEMALE' else 'MALE' end"
        await connection.execute(text(swap))
    assert await refresh(db, id, NOON + timedelta(days=1)) == 2
    assert await inside(db) == {man}
    assert await refresh(db, id, NOON + timedelta(days=2)) == 0
    async with db.read() as connection:
        rows = await connection.execute(
            text("select left_at from segment_memberships where member_id = :m"), {"m": woman}
        )
        assert rows.scalar_one() == NOON + timedelta(days=1)
    nested = await create(db, context, {"savedSegments": [id]}, name="Of a segment")
    assert nested["segment"]["filter"] == {"savedSegments": [id]}
    assert await refresh(db, nested["segment"]["id"]) == 1


async def test_ranges_make_a_whole(db: Database, monkeypatch):
    monkeypatch.setattr(segments, "RANGE", 2)
    members = {await make_member(db) for _ in range(7)}
    made = await create(db, await manager(db))
    await asyncio.gather(*(refresh(db, made["segment"]["id"]) for _ in range(4)))
    assert await inside(db) == members


async def test_a_list_is_imported_by_login_phone_or_id(db: Database):
    first = await make_member(db, login="wang", phone="+8613900000001")
    second = await make_member(db, login="li", phone="+8613900000002")
    context = await manager(db)
    content = "\ufefflogin\r\nwang\r\n\r\nnobody\r\nli\r\nwang\r\n"
    made = await load(db, context, content, skipUnknown=True)
    assert (made["members"], made["unknownLines"], made["duplicateLines"]) == (2, [4], [6])
    assert await inside(db) == {first, second}
    assert (await load(db, context, "phone\n+8613900000001"))["members"] == 1
    ids = f"id\n{encode(Kind.MEMBER, first)}\n{encode(Kind.STAFF, first)}\n{first}"
    assert (await load(db, context, ids, skipUnknown=True))["unknownLines"] == [3, 4]
    assert (await load(db, context, 'login\n"li"\n'))["members"] == 1


async def test_a_list_with_an_unknown_line_is_imported_as_a_whole_or_not(db: Database):
    await make_member(db, login="wang")
    context = await manager(db)
    before = await contents(db)
    answer = await load(db, context, "login\nwang\nnobody\n\nwho")
    assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", "csv")
    assert answer["message"].startswith("Lines 3, 5:")
    many = await load(db, context, "login\n" + "x\n" * 25)
    assert "20, 21 and 5 more:" in many["message"]
    nobody = await load(db, context, "login\nnobody", skipUnknown=True)
    assert nobody["message"].startswith("Line 2:")
    assert await contents(db) == before


async def test_an_import_answers_again_as_it_did(db: Database):
    await make_member(db, login="wang")
    context, request = await manager(db), uuid4()
    first = await load(db, context, "login\nnobody\nwang", request, skipUnknown=True)
    again = await load(db, context, "login\nnobody\nwang", request, skipUnknown=True)
    assert again == first | {"replayed": True} and first["unknownLines"] == [2]


async def test_who_is_erased_is_in_no_list(db: Database):
    member = await make_member(db, login="wang")
    async with db.write() as connection:
        await connection.execute(
            text("update members set erased_at = now() where member_id = :m"), {"m": member}
        )
    answer = await load(db, await manager(db), "login\nwang")
    assert answer["code"] == "VALUE_OUT_OF_RANGE"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "login",
        "name\nx",
        "login,phone\na,b",
        "login\n\0",
        "login\n" + "x\n" * 20_001,
        "login\nwang,li",
        'login\nli\n"wang\n',
        "login\n" + "x" * 200_000,
        "id\rx\r",
        "login\n" + "x\n" * 400_000,
    ],
)
async def test_a_list_that_cannot_be_read_is_refused(db: Database, content):
    context = await manager(db)
    before = await contents(db)
    answer = await load(db, context, content)
    assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", "csv")
    assert await contents(db) == before


async def test_a_filter_that_makes_no_sense_is_not_kept(db: Database):
    context = await manager(db)
    before = await contents(db)
    answer = await create(db, context, {"all": [{"regions": []}]})
    assert (answer["code"], answer["field"]) == ("FILTER_INVALID", "filter.all.0.regions")
    assert (await create(db, context, name=" "))["field"] == "name"
    foreign = await create(db, context, {"savedSegments": [encode(Kind.MEMBER, uuid4())]})
    assert foreign["code"] == "FILTER_INVALID"
    assert await contents(db) == before


async def test_the_same_segment_eight_times_at_once_is_one(db: Database):
    await make_member(db, login="wang")
    context = await manager(db)
    request = uuid4()
    made = await asyncio.gather(*(create(db, context, request=request) for _ in range(8)))
    assert sorted(it["replayed"] for it in made) == [False] + [True] * 7
    request = uuid4()
    lists = await asyncio.gather(*(load(db, context, "login\nwang", request) for _ in range(8)))
    assert len({it["segment"]["id"] for it in lists}) == 1
    assert {it["members"] for it in lists} == {1}


async def test_an_archived_segment_holds_nobody(db: Database):
    await make_member(db, login="wang")
    context = await manager(db)
    id = (await load(db, context, "login\nwang"))["segment"]["id"]

    async def archive(segment: str, request: UUID | None = None) -> dict:
        sent = {"input": {"requestId": str(request or uuid4()), "segmentId": segment}}
        return (await execute(ARCHIVE, sent, context=context))["archiveSegment"]

    request = uuid4()
    answers = await asyncio.gather(*(archive(id, request) for _ in range(8)))
    assert sorted(it["replayed"] for it in answers) == [False] + [True] * 7
    assert await inside(db) == set()
    assert (await archive(id))["code"] == "STATE_INVALID"
    assert (await archive(encode(Kind.SAVED_SEGMENT, uuid4())))["code"] == "NOT_FOUND"
    assert (await execute(LIST, context=context))["savedSegments"]["edges"] == []


async def test_segments_are_listed_with_one_statement_for_employees_only(db: Database):
    context = await manager(db)
    names = [f"S{number}" for number in range(3)]
    for name in names:
        await create(db, context, name=name)
    with StatementCount(db) as counted:
        found = (await execute(LIST, {"first": 2}, context=context))["savedSegments"]
    assert len(found["edges"]) == 2 and found["pageInfo"]["hasNextPage"]
    assert len(counted) == 1
    assert await refused(LIST, context=as_member(db, await make_member(db))) == "FORBIDDEN"
    assert await refused(LIST, context=await manager(db, "CLINIC")) == "FORBIDDEN"
    sent = {"input": {"requestId": str(uuid4()), "name": "x", "filter": WOMEN}}
    assert await refused(CREATE, sent, context=await manager(db, "AUDITOR")) == "FORBIDDEN"


@pytest.mark.parametrize(
    ("wanted", "path", "allowed"),
    [
        ({"occupations": ["office", "wizard"]}, "filter.occupations", "farmer"),
        ({"not": {"regions": ["CN-99"]}}, "filter.not.regions", "CN-31"),
        ({"regions": ["CN-311"]}, "filter.regions", "CN-31"),
        ({"all": [{"incomeBands": ["rich"]}]}, "filter.all.0.incomeBands", "under_3000"),
        ({"residences": ["MOON"]}, "filter.residences", "RURAL"),
        ({"productCodes": ["nope"]}, "filter.productCodes", "starter"),
    ],
)
async def test_a_code_that_is_none_of_the_choices_is_refused(db: Database, wanted, path, allowed):
    context = await manager(db)
    before = await contents(db)
    answer = await create(db, context, wanted)
    assert (answer["code"], answer["field"]) == ("FILTER_INVALID", path)
    document = operation("SegmentPreview", "console")
    assert await refused(document, {"filter": wanted}, context=context) == "FILTER_INVALID"
    async with db.read() as connection:
        with pytest.raises(filters.FilterInvalid, match=allowed):
            await filter_names.check(connection, wanted)
    assert await contents(db) == before


async def test_parts_of_regions_and_choices_of_each_kind_are_taken(db: Database):
    context = await manager(db)
    known = ["office", "CN-31-0115", "under_3000", "RURAL", "starter"]
    names = ["occupations", "regions", "incomeBands", "residences", "productCodes"]
    wanted = {"any": [{name: [code]} for name, code in zip(names, known, strict=True)]}
    assert (await preview(context, wanted))["count"] == 0


async def test_a_preview_on_a_segment_that_is_not_there_is_refused(db: Database):
    wanted = {"savedSegments": [encode(Kind.SAVED_SEGMENT, uuid4())]}
    document = operation("SegmentPreview", "console")
    answer = await refused(document, {"filter": wanted}, context=await manager(db))
    assert answer == "FILTER_INVALID"
