"""Links in SMS and e-mails over real HTTP: a click counts once and leads to where it may, one
click unsubscribes, and whatever leads nowhere looks the same."""

import asyncio
import email
import email.policy
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from starlette.routing import Route
from structlog.testing import capture_logs

from app import main
from app.adapters.smtp import Server, SmtpProvider
from app.config import Settings, origin_of
from app.db import Database, StatementCount
from app.errors import ConfigurationError
from app.events import Events
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.message_links import MessageLinks
from app.nudges import links, queued
from app.nudges.gate import Channel, Priority, Topic
from app.nudges.links import Site
from app.nudges.person_rules import is_person
from tests.factories import NOON, consent, make_member
from tests.nudges import rows, run
from tests.small_site import running_routes
from tests.smtp_server import running_smtp
from tests.test_one_gate import Recorder, tell
from tests.toy_server import Toy, run_app

PHONE, EMAIL = "+8613900000000", "li@example.com"
BROWSER = "Mozilla/5.0 (Linux; Android 14; CUBOT NOTE 50) AppleWebKit/537.36 Chrome/130 Mobile"
LINKS = {
    "public_url": "https://w.example",
    "app_url": "wellward://messages/{message}",
    "link_origins": ["https://www.example"],
}
BOTH = (Channel.SMS, Channel.EMAIL)
MAIL: dict[str, Any] = {"channels": (Channel.EMAIL,)}


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=database_url, **LINKS)  # type: ignore[arg-type]


@pytest.fixture
def site(settings: Settings, database_url: str) -> Iterator[Toy]:
    def routes(db: Database) -> list[Route]:
        at = Site.of(settings)
        return MessageLinks(db, at, now=lambda: NOON, timeout_seconds=30).routes()

    with running_routes(database_url, routes) as running:
        yield running


@pytest_asyncio.fixture
async def http(site: Toy) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"user-agent": BROWSER}
    async with httpx.AsyncClient(base_url=site.base, headers=headers, timeout=30) as client:
        yield client


async def sent(
    db: Database, settings: Settings, member: UUID, *, now: datetime = NOON, **options: Any
) -> dict[str, Any]:
    """By service, what went out to the member."""
    recorder = Recorder()
    provider = options.pop("provider", recorder)
    await tell(db, member, channels=options.pop("channels", BOTH), now=now, **options)
    context = queue.JobContext(db, lambda: now, Events("postgresql://unused"), provider, settings)
    await queue.run_due(db, context, [queued.DISPATCH_JOB])
    return {it.service: it for it in recorder.sent}


def path_in(text: str, place: str) -> str:
    """The path of our link."""
    (found,) = re.findall(rf"https://w\.example(/{place}/[A-Za-z0-9_-]{{16}})(?!\S)", text)
    return str(found)


async def somebody(db: Database, **options: Any) -> UUID:
    return await make_member(db, phone=PHONE, email=EMAIL, **options)


async def engagements(db: Database) -> list[tuple[Any, ...]]:
    return await rows(db, "SELECT kind, occurred_at FROM engagements ORDER BY kind")


CLICKED = [("CLICKED", NOON), ("OPENED", NOON)]


# A click


async def test_eight_clicks_at_once_count_once_and_lead_to_the_message(
    db: Database, settings: Settings, http: httpx.AsyncClient
) -> None:
    member = await somebody(db)
    said = await sent(db, settings, member, title="血压", body="150")
    path = path_in(said["SMS"].body, "l")
    assert "150" not in said["SMS"].body + said["EMAIL"].body
    answers = await asyncio.gather(*(http.get(path) for _ in range(8)))

    [(message,)] = await rows(db, "SELECT id FROM messages")
    to = f"wellward://messages/{encode(Kind.MESSAGE, member, message)}"
    assert {(it.status_code, it.headers["location"]) for it in answers} == {(302, to)}
    assert {it.headers["referrer-policy"] for it in answers} == {"no-referrer"}
    assert await engagements(db) == CLICKED
    assert await rows(db, "SELECT read_at FROM messages") == [(NOON,)]
    assert await rows(db, "SELECT has_link FROM push_deliveries") == [(True,), (True,)]
    # The other one of the same message counts as the same click.
    assert (await http.get(path_in(said["EMAIL"].body, "l"))).status_code == 302
    assert await engagements(db) == CLICKED


async def test_what_no_person_opens_counts_for_nothing_and_is_told_nothing(
    db: Database, settings: Settings, http: httpx.AsyncClient
) -> None:
    path = path_in((await sent(db, settings, await somebody(db)))["SMS"].body, "l")
    answers = [
        await http.head(path),
        await http.get(path, headers={"user-agent": "WhatsApp/2.24"}),
        await http.get(path, headers={"user-agent": f"{BROWSER} facebookexternalhit/1.1"}),
        await http.get(path, headers={"sec-purpose": "prefetch;prerender"}),
        await http.get(path.replace(path[-5:], "xxxxx"), headers={"user-agent": "curl/8"}),
    ]
    assert {it.status_code for it in answers} == {200}
    assert {it.text for it in answers[1:]} == {answers[1].text}
    assert "location" not in answers[1].headers and await engagements(db) == []
    assert (await http.get(path)).status_code == 302
    assert await engagements(db) == CLICKED


ACTIONS = [
    ("https://www.example/check?a=1", True, "action"),
    ("https://www.example.evil/check", True, "message"),
    ("https://www.example@evil.example/", True, "message"),
    ("https://www.example:8443/", True, "message"),
    ("http://www.example/", True, "message"),
    ("javascript:alert(1)", True, "message"),
    ("https://www.example\\@evil.example/", True, "message"),
    ("wellward://points", True, "action"),
    ("https://www.example/diabetes", False, "message"),
]


async def test_a_link_leads_to_an_action_only_where_it_may(
    db: Database, settings: Settings, http: httpx.AsyncClient
) -> None:
    for url, is_public, leads in ACTIONS:
        options: dict[str, Any] = {"is_public": is_public, "action": ("Book", url)}
        mail = (await sent(db, settings, await somebody(db), **MAIL, **options))["EMAIL"]
        assert ("Book: https://w.example/l/" in mail.body) is is_public
        assert url not in mail.body
        to = (await http.get(path_in(mail.body, "l"))).headers["location"]
        assert (to == url) if leads == "action" else to.startswith("wellward://messages/"), url


async def test_whatever_leads_nowhere_looks_the_same(
    db: Database, settings: Settings, site: Toy, http: httpx.AsyncClient
) -> None:
    member, erased = await somebody(db), await somebody(db)
    said = (await sent(db, settings, member))["EMAIL"].body
    click, unsubscribe = path_in(said, "l"), path_in(said, "u")
    of_erased = path_in((await sent(db, settings, erased, cause="2"))["EMAIL"].body, "l")
    await run(db, "UPDATE members SET erased_at = now() WHERE member_id = :id", id=erased)
    over = (await sent(db, settings, member, cause="3", now=NOON - timedelta(days=20)))["SMS"].body
    nowhere = [
        "/l/" + "A" * 16,
        "/l/x",
        "/l/%00",
        "/l/" + "A" * 300,
        click.replace("/l/", "/u/"),
        unsubscribe.replace("/u/", "/l/"),
        of_erased,
        path_in(over, "l"),
    ]
    answers = [await http.get(it) for it in nowhere]
    assert {(it.status_code, it.text) for it in answers} == {(404, answers[0].text)}
    assert "已失效" in (await http.get(nowhere[0], headers={"accept-language": "zh-CN"})).text
    wrong = await http.post(click.replace("/l/", "/u/"), data={"List-Unsubscribe": "One-Click"})
    assert (wrong.status_code, wrong.text) == (404, answers[0].text)
    assert await engagements(db) == []
    assert await rows(db, "SELECT member_id FROM notification_preferences") == []


async def test_without_a_site_there_are_no_links(db: Database) -> None:
    said = await sent(db, Settings(), await somebody(db))
    assert "http" not in said["SMS"].body + said["EMAIL"].body
    assert said["EMAIL"].unsubscribe is None
    assert await rows(db, "SELECT DISTINCT has_link FROM push_deliveries") == [(False,)]
    kept = await rows(db, "SELECT DISTINCT purpose FROM message_links")
    assert kept == [("RECEIPT",)]


async def test_tokens_are_kept_as_hashes_and_forgotten(db: Database, settings: Settings) -> None:
    said = (await sent(db, settings, await somebody(db)))["EMAIL"].body
    token = path_in(said, "l").removeprefix("/l/")
    stored = await rows(db, "SELECT token_hash, purpose FROM message_links WHERE channel = 'EMAIL'")
    assert {it for _, it in stored} == {"CLICK", "UNSUBSCRIBE", "RECEIPT"}
    assert token.encode() not in b"".join(hash for hash, _ in stored)
    for days, left in ((13, 5), (15, 3), (40, 1), (200, 0)):
        async with db.write() as connection:
            await links.prune(connection, now=NOON + timedelta(days=days))
        assert await rows(db, "SELECT count(*) FROM message_links") == [(left,)], days


async def test_links_of_many_are_one_statement(db: Database, settings: Settings) -> None:
    """However many letters are in a group, and none for pushes."""
    found = Site.of(settings)
    members = [await make_member(db) for _ in range(3)]

    async def statements(size: int) -> int:
        wanted = [
            links.Wanted(it, it, Channel.EMAIL, can_unsubscribe=True, expires_at=NOON)
            for it in members[:size]
        ]
        async with db.write() as connection:
            with StatementCount(db) as counted:
                made = await links.make(connection, wanted, site=found, now=NOON)
        assert len({it.click for it in made.values()}) == size
        return len(counted)

    assert [await statements(size) for size in (0, 1, 3)] == [0, 1, 1]


async def test_a_click_is_two_statements(db: Database, settings: Settings) -> None:
    said = (await sent(db, settings, await somebody(db)))["SMS"].body
    token = path_in(said, "l").removeprefix("/l/")
    async with db.transaction() as session:
        connection = await session.connection()
        with StatementCount(db) as counted:
            found = await links.find(connection, links.Purpose.CLICK, token, now=NOON)
            assert found is not None
            await links.clicked(session, found, now=NOON)
        assert len(counted) == 2
    assert await engagements(db) == CLICKED


# Unsubscribing


async def preferences(db: Database) -> list[Any]:
    return [it for (it,) in await rows(db, "SELECT topics FROM notification_preferences")]


async def test_one_click_ends_the_topic_by_this_channel(
    db: Database, settings: Settings, http: httpx.AsyncClient
) -> None:
    member = await somebody(db, locale="zh-CN")
    mail = (await sent(db, settings, member, topic=Topic.EDUCATION))["EMAIL"]
    path = path_in(mail.body, "u")
    assert mail.unsubscribe == f"https://w.example{path}"
    page = await http.get(path)
    assert "退订</button>" in page.text
    assert await preferences(db) == []
    field, value = "List-Unsubscribe", "One-Click"
    # RFC 8058 lets mail programs choose.
    answers = await asyncio.gather(
        *(http.post(path, data={field: value}) for _ in range(4)),
        *(http.post(path, files={field: (None, value)}) for _ in range(4)),
    )
    assert {it.status_code for it in answers} == {200} and "已退订" in answers[0].text
    assert await preferences(db) == [{"EDUCATION": ["IN_APP", "SMS"]}]

    again = await sent(db, settings, member, topic=Topic.EDUCATION, cause="2")
    other = await sent(db, settings, member, topic=Topic.SERVICES, cause="3")
    assert (list(again), sorted(other)) == (["SMS"], ["EMAIL", "SMS"])


async def test_mail_programs_find_the_one_click(db: Database, settings: Settings) -> None:
    with running_smtp() as server:
        at = Server("127.0.0.1", server.port, "off")
        provider = SmtpProvider(at, sender="Wellward <hi@wellward.example>")
        member = await somebody(db, locale="zh-CN")
        for cause, priority in (("1", Priority.NORMAL), ("2", Priority.CRITICAL)):
            await sent(
                db, settings, member, cause=cause, priority=priority, provider=provider, **MAIL
            )
        await provider.close()
    ((returns_to, _, raw), (_, _, critical)) = server.mails
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert returns_to == "hi@wellward.example"
    path = path_in(mail.get_content(), "u")
    assert mail["List-Unsubscribe"] == f"<https://w.example{path}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.get_content_type() == "text/plain"
    assert "点此退订" in mail.get_content() and b"List-Unsubscribe" not in critical


async def test_what_is_no_one_click_changes_nothing(
    db: Database, settings: Settings, http: httpx.AsyncClient
) -> None:
    path = path_in((await sent(db, settings, await somebody(db)))["EMAIL"].body, "u")
    for body, kind, status in (
        (b"", "application/x-www-form-urlencoded", 400),
        (b"List-Unsubscribe=Two", "application/x-www-form-urlencoded", 400),
        (b"List-Unsubscribe=One-Click", "text/plain", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"List-Unsubscribe=One-Click", "", 400),
        (b"a" * 5000, "application/x-www-form-urlencoded", 413),
    ):
        answer = await http.post(path, content=body, headers={"content-type": kind})
        assert answer.status_code == status, (body[:30], kind)
    assert (await http.put(path)).status_code == 405
    assert await preferences(db) == []


async def test_what_is_queued_before_it_does_not_leave(
    db: Database, settings: Settings, http: httpx.AsyncClient
) -> None:
    member = await somebody(db)
    path = path_in((await sent(db, settings, member))["EMAIL"].body, "u")
    await tell(db, member, channels=(Channel.EMAIL,), cause="2")
    await http.post(path, data={"List-Unsubscribe": "One-Click"})
    assert await sent(db, settings, member, channels=(Channel.EMAIL,), cause="3") == {}
    states = await rows(db, "SELECT state, reason FROM push_deliveries WHERE channel = 'EMAIL'")
    assert sorted(states, key=str).count(("SUPPRESSED", "OPTED_OUT")) == 2


async def test_what_concerns_safety_cannot_be_unsubscribed(
    db: Database, settings: Settings
) -> None:
    mail = (await sent(db, settings, await somebody(db), priority=Priority.CRITICAL))["EMAIL"]
    assert mail.unsubscribe is None and "/u/" not in mail.body and "/l/" in mail.body


async def test_advertising_by_sms_says_how_to_refuse_it(db: Database, settings: Settings) -> None:
    member = await somebody(db, locale="zh-CN")
    async with db.transaction() as session:
        session.add(consent(member, "MARKETING", "GRANTED"))
    said = await sent(db, settings, member, topic=Topic.MARKETING, is_public=True)
    assert said["SMS"].body.endswith(" 拒收请回复R")
    other = await sent(db, settings, member, topic=Topic.SERVICES, cause="2")
    assert "拒收" not in other["SMS"].body


# Logs and settings


async def test_the_server_has_these_routes_and_logs_no_token_and_no_address(
    db: Database, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    told = settings.model_copy(update={"message_secrets": {"sms": [SecretStr(secret)]}})
    with run_app(main.create_app(told, now=lambda: NOON)) as site:
        with capture_logs() as logged:
            mail = (await sent(db, settings, await somebody(db)))["EMAIL"]
        click, unsubscribe = path_in(mail.body, "l"), path_in(mail.body, "u")
        agent = {"user-agent": BROWSER}
        async with httpx.AsyncClient(base_url=site.base, timeout=30, headers=agent) as http:
            assert (await http.get(click)).status_code == 302
            form = {"List-Unsubscribe": "One-Click"}
            assert (await http.post(unsubscribe, data=form)).status_code == 200
            event = {"type": "sms.received", "from": PHONE, "text": "R"}
            assert (await http.post("/messages/sms/events", json=event)).status_code == 401
    written = capfd.readouterr().err + str(logged)
    assert '"path":"/l/..."' in written and '"path":"/u/..."' in written
    for kept in (click[3:], unsubscribe[3:], EMAIL, PHONE, secret):
        assert kept not in written and kept not in repr(mail)


@pytest.mark.parametrize(
    "wrong",
    [
        {"app_url": None},
        {"public_url": None},
        {"public_url": "http://w.example"},
        {"public_url": "https://w.example/path"},
        {"public_url": "https://w.example?a=1"},
        {"public_url": "https://us@w.example"},
        {"public_url": "wellward://"},
        {"app_url": "https://app.example/messages"},
        {"app_url": "javascript:{message}"},
        {"app_url": "http://app.example/{message}"},
        {"link_origins": ["https://www.example/path"]},
        {"link_origins": ["www.example"]},
        {"smtp_return_path": "bounces"},
        {"smtp_return_path": "a+b@example.com"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="WELLWARD_"):
        Settings(**(LINKS | wrong))


def test_origins() -> None:
    assert origin_of("https://W.example:8443/a?b#c") == "https://w.example:8443"
    assert origin_of("http://127.0.0.1:8000/x") == "http://127.0.0.1:8000"
    assert origin_of("wellward://messages/1") == "wellward://"
    for none in ("//w.example", "w.example", "data:text/html,x", "https://", "https://a:b:c", ""):
        assert origin_of(none) is None


def test_browsers_are_people() -> None:
    for agent in (
        BROWSER,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 MicroMessenger/8.0",
        "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/130.0",
    ):
        assert is_person("GET", {"user-agent": agent, "sec-fetch-dest": "document"})
    for agent in ("", "Mozilla/5.0 (compatible; Googlebot/2.1)", "python-requests/2", "Slackbot 1"):
        assert not is_person("GET", {"user-agent": agent})
    assert not is_person("GET", {"user-agent": BROWSER, "sec-fetch-dest": "image"})
