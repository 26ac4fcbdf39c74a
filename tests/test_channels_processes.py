"""The real web process and worker with a mail server and an SMS gateway: from an address that a
member sets to the click, the receipt and the end."""

import email
import email.policy
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.clock import wall_clock
from app.db import Database
from app.nudges.gate import Channel, Priority
from tests import processes
from tests.job_worker import eventually
from tests.nudges import rows
from tests.phones import Phone, http_client, make_phone
from tests.sms_gateway import KEY as SMS_KEY
from tests.sms_gateway import SmsGateway, running_gateway
from tests.smtp_server import SmtpServer, running_smtp
from tests.test_confirming import code_in
from tests.test_message_events import SECRET, told
from tests.test_message_links import BROWSER, path_in
from tests.test_one_gate import tell

PHONE, EMAIL = "+8613811112222", "li.processes@example.com"
BOTH = (Channel.SMS, Channel.EMAIL)
QUEUED = "SELECT count(*) FROM push_deliveries WHERE state <> 'SENT'"
PROVING = bool(os.environ.get("WELLWARD_PROVE"))


@pytest.mark.skipif(not PROVING, reason="two processes more; WELLWARD_PROVE=1")
async def test_from_a_new_address_to_the_end(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    with running_gateway() as gateway, running_smtp() as mail_server:
        settings: dict[str, Any] = {
            "WELLWARD_LOG_LEVEL": "DEBUG",
            "WELLWARD_PUBLIC_URL": "https://w.example",
            "WELLWARD_APP_URL": "wellward://messages/{message}",
            "WELLWARD_SMS_URL": gateway.url,
            "WELLWARD_SMS_KEY": SMS_KEY,
            "WELLWARD_SMTP_URL": f"smtp://127.0.0.1:{mail_server.port}?tls=off",
            "WELLWARD_SMTP_FROM": "Wellward <hi@wellward.example>",
            "WELLWARD_SMTP_RETURN_PATH": "bounces@wellward.example",
            "WELLWARD_MESSAGE_SECRETS": json.dumps({"sms": [SECRET], "email": [SECRET]}),
        }
        async with (
            http_client() as http,
            processes.web(database_url, tmp_path, **settings) as (site,),
            processes.worker(database_url, tmp_path, **settings) as worker,
        ):
            phone = await make_phone(db, tmp_path, http, site.base, login="li")
            codes = await confirm(phone, gateway, mail_server)
            tokens = await follow(db, phone, gateway, mail_server)
            said = site.said() + worker.said()
    for secret in (*codes, *tokens, PHONE, EMAIL, SECRET):
        assert secret not in said


async def confirm(phone: Phone, gateway: SmsGateway, mail_server: SmtpServer) -> list[str]:
    """The codes, which it gives back."""
    sent = {"requestId": str(uuid4()), "phone": PHONE, "email": EMAIL}
    answer = await phone.send("SetContact", {"input": sent})
    assert answer.body["data"]["setContact"]["member"]["unverifiedContacts"] == ["PHONE", "EMAIL"]

    async def both_came() -> bool:
        return bool(gateway.taken and mail_server.mails)

    await eventually(both_came)
    codes = [code_in(gateway.taken[0]["text"]), code_in(text_of(mail_server.mails[0][2]))]
    for contact, code in zip(("PHONE", "EMAIL"), codes, strict=True):
        sent = {"requestId": str(uuid4()), "contact": contact, "code": code}
        answer = await phone.send("VerifyContact", {"input": sent})
        assert answer.body["data"]["verifyContact"]["__typename"] == "VerifyContactPayload"
    return codes


async def follow(
    db: Database, phone: Phone, gateway: SmsGateway, mail_server: SmtpServer
) -> list[str]:
    """The tokens that were in the messages."""
    await tell(db, phone.member_id, channels=BOTH, priority=Priority.OWN, now=wall_clock())

    async def both_left() -> bool:
        return await rows(db, QUEUED) == [(0,)]

    await eventually(both_left)
    sms, (returns_to, _, mail) = gateway.taken[1], mail_server.mails[1]
    click, unsubscribe = path_in(sms["text"], "l"), path_in(text_of(mail), "u")
    agent = {"user-agent": BROWSER}
    async with httpx.AsyncClient(base_url=phone.base, timeout=60, headers=agent) as browser:
        clicked = await browser.get(click)
        assert clicked.headers["location"].startswith("wellward://messages/")
        ended = await browser.post(unsubscribe, data={"List-Unsubscribe": "One-Click"})
        assert ended.status_code == 200
    assert len(await rows(db, "SELECT kind FROM engagements")) == 2
    now = wall_clock()
    delivered = {"type": "sms.delivered", "reference": sms["reference"]}
    bounced = {"type": "email.bounced", "reference": returns_to, "permanent": True}
    for channel, event in (("sms", delivered), ("email", bounced)):
        assert await told(phone, channel, event, at=now) == (200, {"status": "recorded"})
    states = await rows(db, "SELECT channel, state, reason FROM push_deliveries ORDER BY channel")
    assert states == [("EMAIL", "FAILED", "HARD_BOUNCE"), ("SMS", "SENT", "ARRIVED")]
    assert await rows(db, "SELECT email_dead_at IS NOT NULL FROM members") == [(True,)]
    return [click[3:], unsubscribe[3:]]


def text_of(raw: bytes) -> str:
    return str(email.message_from_bytes(raw, policy=email.policy.default).get_content())
