"""How members came to stand where they stand, and who was in a saved segment when."""

from datetime import date
from typing import Any
from uuid import uuid4

from app.campaigns import facts as _facts  # noqa: F401 - what is asked about health
from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.members import segments, standing_service
from app.schema import schema
from tests.campaigns import DAY, key, run
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    execute,
    make_member,
    make_staff,
    operation,
)
from tests.test_lifecycle import enrol

OF_SELF = operation("Standing")
OF_MEMBER = operation("MemberStanding", "console")
[*_, OF_SEGMENT] = operation("SavedSegments", "console").split("\n# Who was")
OF_SEGMENT = "# Who was" + OF_SEGMENT.split("\nmutation")[0]
CREATE = """
mutation($input: CreateSegmentInput!) { createSegment(input: $input) {
  ... on CreateSegmentPayload { segment { id } } } }
"""


async def look(db: Database, now: Any) -> None:
    async for _ in standing_service.refresh_due(db, now=now):
        pass


def nodes(found: Any) -> list[dict[str, Any]]:
    return [edge["node"] for edge in found["edges"]]


async def segment(db: Database, wanted: dict[str, Any]) -> str:
    context = as_staff(db, await make_staff(db, "CAMPAIGN_MANAGER"), "CAMPAIGN_MANAGER")
    sent = {"requestId": str(uuid4()), "name": "Some", "filter": wanted}
    made = await execute(CREATE, {"input": sent}, context=context)
    id: str = made["createSegment"]["segment"]["id"]
    await refresh(db, id, NOON)
    return id


async def refresh(db: Database, id: str, now: Any) -> None:
    async for _ in segments.refresh(db, key(id), now=now):
        pass


async def test_a_life_is_told_in_words_to_the_member_and_who_looks_after_them(db: Database):
    member = await make_member(db, birth_date=date(1961, 3, 5), locale="zh-CN")
    await look(db, NOON)
    await enrol(db, member)
    for days in (0.1, 1, 8, 380):
        await look(db, NOON + days * DAY)
    found = (await execute(OF_SELF, context=as_member(db, member, locale="zh-CN")))["me"]
    stages = [(it["stage"], it["reason"]) for it in nodes(found["lifecycleHistory"])]
    expected = ["DORMANT", "ACTIVE", "NEW", "PROSPECT"]
    assert [stage for stage, _ in stages] == expected
    assert all(reason.endswith("。") for _, reason in stages)
    assert nodes(found["lifecycleHistory"])[0]["stage"] == found["lifecycle"]["stage"]
    assert nodes(found["segmentHistory"])[0]["code"] == found["segment"]["code"]
    staff = await make_staff(db, "HEALTH_MANAGER")
    await assign(db, staff, member)
    context = as_staff(db, staff)
    paged: list[Any] = []
    sent: dict[str, Any] = {"id": encode(Kind.MEMBER, member), "first": 1}
    while True:
        page = (await execute(OF_MEMBER, sent, context=context))["member"]["lifecycleHistory"]
        paged += nodes(page)
        sent["stagesAfter"] = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert [it["stage"] for it in paged] == [stage for stage, _ in stages]


async def test_histories_of_many_take_as_many_statements(db: Database):
    staff = as_staff(db, await make_staff(db, "ADMIN"), "ADMIN")
    for _ in range(4):
        await make_member(db, birth_date=date(1950, 1, 1))
    await look(db, NOON)
    counts = []
    for first in (1, 4):
        fields = """lifecycleHistory { edges { node { stage } } }
          segmentHistory { edges { node { code } } } savedSegments { edges { cursor } }"""
        document = f"{{ members(first: {first}) {{ edges {{ node {{ {fields} }} }} }} }}"
        with StatementCount(db) as counted:
            found = await execute(document, context=staff)
        assert [it["segmentHistory"]["edges"][0]["node"]["code"] for it in nodes(found["members"])]
        counts.append(len(counted))
    assert counts[0] == counts[1]


async def test_who_was_in_a_segment_from_when_until_when(db: Database):
    stays, goes, comes = [await make_member(db) for _ in range(3)]
    sex = "update members set sex = :s where member_id = :m"
    await run(db, sex, s="MALE", m=comes)
    id = await segment(db, {"sexes": ["FEMALE"]})
    await run(db, sex, s="MALE", m=goes)
    await run(db, sex, s="FEMALE", m=comes)
    await refresh(db, id, NOON + DAY)
    later = NOON + DAY
    admin = as_staff(db, await make_staff(db, "ADMIN"), "ADMIN", now=later)
    found = (await execute(OF_SEGMENT, {"id": id}, context=admin))["savedSegment"]
    told = {it["member"]["id"]: (it["enteredAt"], it["leftAt"]) for it in nodes(found["stays"])}
    assert told == {
        encode(Kind.MEMBER, stays): (NOON, None),
        encode(Kind.MEMBER, goes): (NOON, later),
        encode(Kind.MEMBER, comes): (later, None),
    }
    assert nodes(found["days"]) == [
        {"day": later.date(), "entered": 1, "left": 1},
        {"day": NOON.date(), "entered": 2, "left": 0},
    ]
    paged, after = [], None
    for _ in range(3):
        sent = {"id": id, "first": 1, "after": after}
        page = (await execute(OF_SEGMENT, sent, context=admin))["savedSegment"]["stays"]
        paged += nodes(page)
        after = page["pageInfo"]["endCursor"]
    assert [it["member"]["id"] for it in paged] == list(told) and not page["pageInfo"][
        "hasNextPage"
    ]
    # Whoever looks after one of them sees that one; who runs campaigns sees numbers.
    manager = await make_staff(db, "HEALTH_MANAGER")
    await assign(db, manager, goes)
    found = (await execute(OF_SEGMENT, {"id": id}, context=as_staff(db, manager)))["savedSegment"]
    assert [it["member"]["id"] for it in nodes(found["stays"])] == [encode(Kind.MEMBER, goes)]
    campaigns = as_staff(db, await make_staff(db, "CAMPAIGN_MANAGER"), "CAMPAIGN_MANAGER")
    found = (await execute(OF_SEGMENT, {"id": id}, context=campaigns))["savedSegment"]
    assert (nodes(found["stays"]), len(nodes(found["days"]))) == ([], 2)
    member = (
        await execute(OF_MEMBER, {"id": encode(Kind.MEMBER, goes)}, context=as_staff(db, manager))
    )["member"]
    assert nodes(member["savedSegments"]) == [
        {"enteredAt": NOON, "leftAt": later, "segment": {"id": id, "name": "Some"}}
    ]
    # Who is erased is in no history.
    await run(db, "update members set erased_at = :at where member_id = :m", at=NOON, m=goes)
    found = (await execute(OF_SEGMENT, {"id": id}, context=admin))["savedSegment"]
    assert len(nodes(found["stays"])) == 2


async def test_a_segment_about_health_tells_of_who_consents(db: Database):
    high, withdrawn = await make_member(db), await make_member(db)
    for member in (high, withdrawn):
        await run(
            db,
            "insert into risk_profiles (member_id, tier, contests) values (:m, 'HIGH', 0)",
            m=member,
        )
    id = await segment(db, {"riskTiers": ["HIGH"]})
    outer = await segment(db, {"savedSegments": [id]})
    async with db.transaction() as session:
        session.add(consent(withdrawn, "HEALTH_DATA", "WITHDRAWN", version=2))
    admin = as_staff(db, await make_staff(db, "ADMIN"), "ADMIN")
    for it in (id, outer):
        found = (await execute(OF_SEGMENT, {"id": it}, context=admin))["savedSegment"]
        assert [it["member"]["id"] for it in nodes(found["stays"])] == [encode(Kind.MEMBER, high)]
        assert nodes(found["days"])[0]["entered"] == 2
    # Numbers of less than ten tell of single people.
    manager = as_staff(db, await make_staff(db, "CAMPAIGN_MANAGER"), "CAMPAIGN_MANAGER")
    found = (await execute(OF_SEGMENT, {"id": outer}, context=manager))["savedSegment"]
    assert nodes(found["days"])[0]["entered"] == 0
    for member, count in ((high, 2), (withdrawn, 0)):
        sent = {"id": encode(Kind.MEMBER, member)}
        answer = await execute(OF_MEMBER, sent, context=admin)
        assert len(nodes(answer["member"]["savedSegments"])) == count


async def test_segments_of_a_member_are_for_employees(db: Database):
    member = await make_member(db)
    document = "{ me { savedSegments { edges { cursor } } } }"
    id = await segment(db, {"sexes": ["FEMALE"]})
    found = await execute(document, context=as_member(db, member))
    assert found == {"me": {"savedSegments": {"edges": []}}}
    context = as_member(db, member)
    denied = await schema.execute(OF_SEGMENT, {"id": id}, context_value=context)
    assert denied.data == {"savedSegment": None} and denied.errors
    manager = as_staff(db, await make_staff(db, "CAMPAIGN_MANAGER"), "CAMPAIGN_MANAGER")
    for wrong in (encode(Kind.CAMPAIGN, uuid4()), encode(Kind.SAVED_SEGMENT, uuid4()), "x"):
        assert await execute(OF_SEGMENT, {"id": wrong}, context=manager) == {"savedSegment": None}
