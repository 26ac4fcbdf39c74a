"""A provider's webhook over real HTTP: signed, once, with its real failures."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app import main
from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.graphql.ids import Kind, encode
from app.payments import BODY_BYTES_MAX, read_secrets
from tests.factories import NOON, contents
from tests.policy_holders import PLAIN, insured, publish, rows, variant
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
