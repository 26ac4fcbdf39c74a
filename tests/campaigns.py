"""Campaigns as their managers make them, and their time passing."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.campaigns import assigning, content, planning
from app.db import Database
from app.graphql.context import Context
from app.graphql.ids import Kind, encode, parse
from app.nudges import releasing
from app.premiums import service as premiums
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    consent,
    execute,
    make_member,
    make_staff,
    operation,
)

assert content.KIND  # registers what campaigns say

DAY = timedelta(days=1)
DOCUMENTS = operation("Campaigns", "console")
PARTS = {
    part.split("(", 1)[0].split()[-1]: part
    for part in DOCUMENTS.replace("\nmutation", "\0mutation")
    .replace("\nquery", "\0query")
    .split("\0")
}
CHECK_IN = """
insert into checkins (member_id, id, assignment_id, starts_on, local_date, slot, occurred_at,
  received_at, state, counts, points_awarded, reason_code, request_id, acted_by)
select t.member_id, :id, t.assignment_id, t.starts_on, t.starts_on, 0, :at, :at, 'ACCEPTED', true, 0,
  'x', :id, t.member_id from tasks t where t.member_id = :m limit 1
"""
EXTRA = {
    name: f"""
    mutation($input: {name}Input!) {{ {name[0].lower()}{name[1:]}(input: $input) {{ __typename
      ... on {name}Payload {{ replayed campaign {{ id name state audienceSize }} }}
      ... on UserError {{ code message field }} }} }}"""
    for name in ("EditCampaign", "SubmitCampaign", "CancelCampaign")
}


def variants(*keys: str, step: int = 0, **weights: int) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            "locale": locale,
            "title": f"{key} {locale}",
            "body": f"Step {step}",
            "weight": weights.get(key, 1),
            "step": step,
        }
        for key in keys
        for locale in ("zh-CN", "en")
    ]


def wish(**changes: Any) -> dict[str, Any]:
    usual = {
        "requestId": str(uuid4()),
        "name": "Walk in spring",
        "topic": "EDUCATION",
        "filter": {"sexes": ["FEMALE"]},
        "channel": "IN_APP",
        "variants": variants("a"),
        "holdoutPercent": "0",
        "startsAt": NOON.isoformat(),
    }
    return usual | changes


async def managers(db: Database, count: int = 2) -> list[Context]:
    return [await manager(db) for _ in range(count)]


async def manager(db: Database, role: str = "CAMPAIGN_MANAGER", *, now: datetime = NOON) -> Context:
    return as_staff(db, await make_staff(db, role), role, now=now)


async def change(name: str, context: Context, /, **values: Any) -> dict[str, Any]:
    document = EXTRA.get(name) or PARTS[name]
    values.setdefault("requestId", str(uuid4()))
    answer = await execute(document, {"input": values}, context=context)
    found: dict[str, Any] = answer[name[0].lower() + name[1:]]
    return found


async def create(context: Context, **changes: Any) -> str:
    made = await change("CreateCampaign", context, **wish(**changes))
    assert made["__typename"] == "CreateCampaignPayload", made
    id: str = made["campaign"]["id"]
    return id


async def started(db: Database, **changes: Any) -> str:
    """The id of a running campaign whose members are assigned."""
    author, other = await managers(db)
    id = await create(author, **changes)
    begun = await change("StartCampaign", other, campaignId=id)
    assert begun["campaign"]["state"] == "RUNNING", begun
    await assigning.assign(db, key(id), now=NOON)
    return id


def key(id: str) -> UUID:
    named = parse(id)
    assert named is not None
    return named.owner_id


async def pass_time(db: Database, id: str, now: datetime = NOON) -> int:
    """Plan what is due and release it; how many messages were planned."""
    planned = await planning.plan(db, key(id), now=now)
    while (await releasing.release(db, now=now)).looked_at:
        pass
    return planned + await planning.plan(db, key(id), now=now)


async def make_members(db: Database, count: int, **options: Any) -> list[UUID]:
    return [await make_member(db, **options) for _ in range(count)]


async def agree(db: Database, *members: UUID, purpose: str = "MARKETING") -> None:
    async with db.transaction() as session:
        for member in members:
            session.add(consent(member, purpose, "GRANTED"))


async def rows(db: Database, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    async with db.read() as connection:
        return [tuple(row) for row in await connection.execute(text(statement), values)]


async def run(db: Database, statement: str, **values: Any) -> None:
    async with db.write() as connection:
        await connection.execute(text(statement), values)


async def told(db: Database, id: str) -> dict[UUID, int]:
    """How many messages of a campaign are in each member's inbox."""
    found = await rows(
        db,
        "select member_id, count(*) from messages where source_id = :id and in_inbox group by 1",
        id=key(id),
    )
    return dict(found)


async def report(context: Context, id: str) -> dict[str, Any]:
    answer = await execute(PARTS["CampaignReport"], {"id": id}, context=context)
    found: dict[str, Any] = answer["campaign"]["report"]
    return found


def by_key(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {arm["key"]: arm for arm in found["arms"]}


async def enrolled(db: Database, count: int) -> list[UUID]:
    members = await make_members(db, count)
    for member in members:
        async with db.transaction() as session:
            await premiums.enrol(
                session,
                member_id=member,
                product_code="starter",
                starts_on=NOON.date(),
                now=NOON - DAY,
            )
    return members


async def check_in(db: Database, member: UUID, at: datetime = NOON + DAY) -> None:
    await run(db, CHECK_IN, m=member, id=uuid4(), at=at)


async def engage(
    db: Database, member: UUID, *kinds: str, at: datetime = NOON + timedelta(hours=1)
) -> None:
    """As the app says it, about the member's newest message."""
    [[message]] = await rows(
        db,
        "select id from messages where member_id = :m order by planned_at desc limit 1",
        m=member,
    )
    events = [
        {
            "messageId": encode(Kind.MESSAGE, member, message),
            "kind": kind,
            "occurredAt": at.isoformat(),
        }
        for kind in kinds
    ]
    sent = {"input": {"requestId": str(uuid4()), "events": events}}
    answer = await execute(
        operation("RecordEngagement"), sent, context=as_member(db, member, now=at)
    )
    assert answer["recordEngagement"]["accepted"] == len(kinds)
