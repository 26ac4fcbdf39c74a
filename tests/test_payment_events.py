"""A provider's webhook over real HTTP: signed, once, with its real failures."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app import main
from app.config import Settings
from app.db import Database, StatementCount
from app.errors import ConfigurationError
from app.graphql.ids import Kind, encode
from app.payments import BODY_BYTES_MAX, read_secrets
from app.premiums import cancellation
from app.premiums.history import Actor
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    make_staff,
    operation,
)
from tests.policy_holders import PLAIN, do, insured, publish, rows, variant
from tests.toy_server import Toy, run_app

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Toy]:
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, payment_secrets={"acquirer": [SECRET]}
    )
    with run_app(main.create_app(settings, now=lambda: NOON)) as site:
        yield site


async def send(
    site: Toy, body: bytes, *, key: bytes = KEY, at: datetime = NOON, provider: str = "acquirer"
) -> httpx.Response:
    stamp = str(int(at.timestamp()))
    digest = hmac.digest(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.post(
            f"{site.base}/payments/{provider}/events", content=body, headers=headers
        )


@pytest.fixture
async def event(db: Database, site: Toy) -> dict[str, Any]:
    await publish(db, variant(**PLAIN))
    policy = await insured(db)
    [(invoice, amount)] = await rows(db, "select id, amount from invoices")
    return {
        "type": "invoice.paid",
        "id": "evt_1",
        "invoice": encode(Kind.INVOICE, policy.member_id, invoice),
        "amount": amount,
        "currency": "CNY",
        "happened_at": NOON.isoformat(),
    }


def written(event: dict[str, Any], **other: Any) -> bytes:
    return json.dumps({**event, **other}).encode()


async def test_what_is_told_is_taken_once(db: Database, site: Toy, event: dict[str, Any]):
    failed = await send(
        site, written(event, id="evt_0", type="invoice.failed", failure="CARD_EXPIRED")
    )
    assert (failed.status_code, failed.json()) == (200, {"status": "recorded"})
    assert await rows(db, "select failures from invoices") == [(1,)]
    answers = [await send(site, written(event)) for _ in range(2)]
    assert [it.json()["status"] for it in answers] == ["recorded", "known"]
    assert await rows(db, "select state from invoices") == [("PAID",)]
    told = await rows(db, "select outcome, failure, provider from payments order by reference")
    assert told == [("FAILED", "CARD_EXPIRED", "acquirer"), ("PAID", None, "acquirer")]
    before = await contents(db)
    contradicts = await send(site, written(event, amount=event["amount"] + 1))
    assert contradicts.status_code == 409
    assert await contents(db) == before


async def test_what_is_not_theirs_or_makes_no_sense_moves_nothing(
    db: Database, site: Toy, event: dict[str, Any]
):
    before = await contents(db)
    good = written(event)
    stranger = encode(Kind.INVOICE, uuid4(), uuid4())
    for body, given, status in (
        (good, {"key": b"x" * 32}, 401),
        (good, {"at": NOON - timedelta(minutes=6)}, 401),
        (good, {"provider": "nobody"}, 404),
        (written(event, invoice=stranger), {}, 404),
        (written(event, invoice="none"), {}, 404),
        (written(event, type="invoice.lost"), {}, 400),
        (written(event, amount=0), {}, 400),
        (written(event, happened_at="2026-03-02"), {}, 400),
        (b"[]", {}, 400),
        (b"{", {}, 400),
        (b" " * (BODY_BYTES_MAX + 1), {}, 413),
    ):
        answer = await send(site, body, **given)
        assert answer.status_code == status, (body[:200], answer.text)
    assert await contents(db) == before


@pytest.mark.parametrize(
    "secrets",
    [{"Acquirer": [SECRET]}, {"staff": [SECRET]}, {"a": []}, {"a": [SECRET] * 3}, {"a": ["x"]}],
)
def test_settings_that_cannot_be_are_refused_without_saying_a_secret(secrets, tmp_path: Path):
    settings = Settings(data_dir=tmp_path, payment_secrets=secrets)
    with pytest.raises(ConfigurationError) as refused:
        read_secrets(settings)
    assert SECRET not in str(refused.value)


async def owed_back(db: Database, event: dict[str, Any], site: Toy) -> tuple[UUID, dict[str, Any]]:
    """A refund of what a provider has collected; its policy's member, and the event of it."""
    assert (await send(site, written(event))).status_code == 200
    [(member, policy)] = await rows(db, "select member_id, id from policies")
    await do(db, cancellation.cancel, member_id=member, policy_id=policy, by=Actor.member(member))
    [(refund, amount)] = await rows(db, "select id, amount from refunds")
    paid = {key: it for key, it in event.items() if key != "invoice"} | {
        "type": "refund.paid",
        "id": "evt_9",
        "refund": encode(Kind.REFUND, member, refund),
        "amount": amount,
    }
    return member, paid


async def test_what_was_owed_is_paid_back_once(db: Database, site: Toy, event: dict[str, Any]):
    _, paid = await owed_back(db, event, site)
    failed = written(paid, id="evt_8", type="refund.failed", failure="ACCOUNT_CLOSED")
    assert [(await send(site, failed)).json()["status"] for _ in range(2)] == ["recorded", "known"]
    assert await rows(db, "select failures, paid_at from refunds") == [(1, None)]
    items = "select closed_at is null from worklist_items where kind = 'PAYMENT'"
    assert await rows(db, items) == [(True,)]
    answers = [await send(site, written(paid)) for _ in range(2)]
    assert [it.json()["status"] for it in answers] == ["recorded", "known"]
    assert await rows(db, "select paid_at is not null, reference from refunds") == [(True, "evt_9")]
    assert await rows(db, items) == [(False,)]
    before = await contents(db)
    assert (await send(site, written(paid, amount=1))).status_code == 409
    assert (
        await send(site, written(paid, invoice=event["invoice"], id="evt_1"))
    ).status_code == 409
    assert await contents(db) == before
    again = await send(site, written(paid, id="evt_10"))
    assert again.json() == {"status": "recorded"}, "twice: kept, and for an employee"
    outcomes = await rows(db, "select outcome from payments order by recorded_at, reference")
    assert sorted(outcomes) == [("PAID",), ("REFUNDED",), ("REFUNDED",), ("REFUND_FAILED",)]
    assert len(await rows(db, items)) == 2


async def test_a_refund_that_is_none_is_not_taken_down(
    db: Database, site: Toy, event: dict[str, Any]
):
    _, paid = await owed_back(db, event, site)
    before = await contents(db)
    stranger = encode(Kind.REFUND, uuid4(), uuid4())
    for body, status in (
        (written(paid, refund=stranger), 404),
        (written(paid, refund=event["invoice"]), 404),
        (written(paid, refund=None), 400),
        (written(event, id="evt_7", invoice=None), 400),
    ):
        assert (await send(site, body)).status_code == status
    assert await contents(db) == before


async def test_employees_see_what_was_told_and_members_do_not(
    db: Database, site: Toy, event: dict[str, Any]
):
    member, paid = await owed_back(db, event, site)
    await send(site, written(paid))
    [(policy,)] = await rows(db, "select id from policies")
    id = encode(Kind.CONTRACT, member, policy)
    staff = await make_staff(db)
    await assign(db, staff, member)
    listing = operation("ContractPayments", "console")

    async def page(context, **given):
        with StatementCount(db) as counted:
            answer = await execute(listing, {"id": id, **given}, context=context)
        return answer["node"], len(counted)

    found, statements = await page(as_staff(db, staff))
    nodes = [edge["node"] for edge in found["payments"]["edges"]]
    by_reference = {it["reference"]: it for it in nodes}
    assert {key: it["outcome"] for key, it in by_reference.items()} == {
        "evt_1": "PAID", "evt_9": "REFUNDED",
    }  # fmt: skip
    assert by_reference["evt_9"]["refundId"] == paid["refund"]
    first = by_reference["evt_1"]
    assert (first["invoiceId"], first["refundId"]) == (event["invoice"], None)
    one, fewer = await page(as_staff(db, staff), first=1)
    assert fewer == statements
    after = one["payments"]["pageInfo"]["endCursor"]
    rest, _ = await page(as_staff(db, staff), first=1, after=after)
    seen = [it["node"] for half in (one, rest) for it in half["payments"]["edges"]]
    assert seen == nodes
    assert rest["payments"]["pageInfo"]["hasNextPage"] is False
    own, _ = await page(as_member(db, member))
    assert own == {"id": id, "payments": None}
    other, _ = await page(as_staff(db, await make_staff(db)))
    assert other is None
