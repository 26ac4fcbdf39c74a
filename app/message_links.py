"""`/l/TOKEN` leads from an SMS or e-mail to its message, `/u/TOKEN` ends e-mails of its kind.

Nobody signs in here: a token opens no data. What leads nowhere looks the same, whatever it is.
"""

import asyncio
import email
import email.policy
from collections.abc import Awaitable, Callable
from datetime import datetime
from html import escape
from urllib.parse import parse_qsl

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.db import Database
from app.errors import Busy
from app.graphql.http import read_body
from app.graphql.params import BadRequest
from app.nudges import links, preferences
from app.nudges.links import CLICK_PATH, UNSUBSCRIBE_PATH, Purpose, Site
from app.nudges.person_rules import is_person
from app.texts import Text

BODY_BYTES_MAX = 4096
_ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""What a mail program posts (RFC 8058, 3.1), and the button of our page."""
_NOT_FOUND = Text(
    zh="这个链接已失效。请打开应用查看。", en="This link is over. Open the app to see more."
)
_ASK = Text(zh="不再接收此类邮件？", en="No more e-mails of this kind?")
_BUTTON = Text(zh="退订", en="Unsubscribe")
_DONE = Text(
    zh="已退订：你不会再收到此类邮件。可随时在应用的通知设置中恢复。",
    en="Done: you get no more e-mails of this kind. The app's settings can bring them back.",
)
_NOT_CLEAR = Text(zh="请点击邮件中的退订链接。", en="Follow the link in the e-mail.")
_BUSY = Text(zh="系统繁忙，请稍后再试。", en="The server is busy; try again.")

_log = structlog.get_logger(__name__)


class MessageLinks:
    def __init__(
        self,
        db: Database,
        site: Site | None,
        *,
        now: Callable[[], datetime],
        timeout_seconds: float,
    ) -> None:
        self._db = db
        self._site = site
        self._now = now
        self._timeout_seconds = timeout_seconds

    def routes(self) -> list[Route]:
        return [
            Route(f"{CLICK_PATH}{{token}}", self.follow, methods=["GET"]),
            Route(f"{UNSUBSCRIBE_PATH}{{token}}", self.ask, methods=["GET"]),
            Route(f"{UNSUBSCRIBE_PATH}{{token}}", self.unsubscribe, methods=["POST"]),
        ]

    async def follow(self, request: Request) -> Response:
        """A machine is told nothing, so that a preview shows our name and no more."""
        if not is_person(request.method, request.headers):
            return _page(request, Text(zh="Wellward", en="Wellward"))
        return await self._in_time(request, self._follow)

    async def ask(self, request: Request) -> Response:
        """Whoever looks changes nothing: mail servers open every link."""
        return await self._in_time(request, self._ask)

    async def unsubscribe(self, request: Request) -> Response:
        return await self._in_time(request, self._unsubscribe)

    async def _in_time(
        self, request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await answer(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except BadRequest as error:
            return _page(request, _NOT_CLEAR, status=error.status)
        except (Busy, TimeoutError) as error:
            _log.warning("message_link_busy", error=type(error).__name__)
            return _page(request, _BUSY, status=503)

    async def _follow(self, request: Request) -> Response:
        found = await self._found(request, Purpose.CLICK)
        if found is None or self._site is None:
            return _page(request, _NOT_FOUND, status=404)
        async with self._db.transaction() as session:
            await links.clicked(session, found, now=self._now())
        return RedirectResponse(self._site.target(found), 302)

    async def _ask(self, request: Request) -> Response:
        found = await self._found(request, Purpose.UNSUBSCRIBE)
        if found is None:
            return _page(request, _NOT_FOUND, status=404)
        return _page(request, _ASK, locale=found.locale, button=_BUTTON)

    async def _unsubscribe(self, request: Request) -> Response:
        """Raises BadRequest."""
        raw = await read_body(request.headers, request.receive, BODY_BYTES_MAX)
        if _ONE_CLICK not in _fields(request.headers.get("content-type", ""), raw):
            raise BadRequest("This is no one-click unsubscribe.")
        found = await self._found(request, Purpose.UNSUBSCRIBE)
        if found is None:
            return _page(request, _NOT_FOUND, status=404)
        async with self._db.transaction() as session:
            await preferences.opt_out(
                session,
                member_id=found.member_id,
                topics=[found.topic],
                channel=found.channel,
                now=self._now(),
            )
        return _page(request, _DONE, locale=found.locale)

    async def _found(self, request: Request, purpose: Purpose) -> links.Found | None:
        token = request.path_params["token"]
        async with self._db.read() as reading:
            return await links.find(reading, purpose, token, now=self._now())


def _fields(content_type: str, raw: bytes) -> list[tuple[str, str]]:
    """Of a form, in either of the two ways of HTML; empty when it is none."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return parse_qsl(raw.decode("utf-8", "replace"))
    if kind != "multipart/form-data" or not content_type.isprintable():
        return []
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + raw, policy=email.policy.HTTP)
    return [
        (str(part.get_param("name", header="content-disposition")), str(part.get_payload()).strip())
        for part in form.walk()
        if not part.is_multipart()
    ]


def _page(
    request: Request,
    said: Text,
    *,
    locale: str | None = None,
    button: Text | None = None,
    status: int = 200,
) -> Response:
    """In the member's language; in the browser's while it is not known whose link it is."""
    language = locale or request.headers.get("accept-language", "en")
    tag = "zh-CN" if said.to(language) == said.zh else "en"
    name, value = _ONE_CLICK
    form = (
        f'<form method="post"><input type="hidden" name="{name}" value="{value}">'
        f"<button>{escape(button.to(language))}</button></form>"
        if button is not None
        else ""
    )
    html = (
        f'<!doctype html><html lang="{tag}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<title>Wellward</title><p>{escape(said.to(language))}</p>{form}</html>"
    )
    return Response(html, status, media_type="text/html; charset=utf-8")
