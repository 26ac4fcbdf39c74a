"""`GET /payouts`: the annual payout report, for whoever asks; nobody signs in for it.

Only what was published when a year was confirmed is shown. What many ask at once is read once.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.civil_time import is_locale
from app.db import Database
from app.premiums import pages, payout_page, payouts
from app.premiums.payouts import Published

PATH = "/payouts"
_FRESH = timedelta(minutes=1)
_STYLE_HASH = base64.b64encode(hashlib.sha256(pages.STYLE.encode()).digest()).decode()
_HEADERS = {
    "cache-control": f"public, max-age={int(_FRESH.total_seconds())}",
    "content-security-policy": payout_page.CONTENT_SECURITY_POLICY.format(style=_STYLE_HASH),
    "vary": "accept-language",
}


class PayoutReports:
    def __init__(self, db: Database, *, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self._read: tuple[datetime, Sequence[Published]] | None = None
        self._one_at_a_time = asyncio.Lock()

    def routes(self) -> list[Route]:
        return [Route(PATH, self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """In the language of `?locale=`, or else of the browser."""
        locale = request.query_params.get("locale") or _language(request)
        if not is_locale(locale):
            locale = "en"
        page = payout_page.page(await self._published(), locale)
        return Response(page, headers=_HEADERS, media_type="text/html")

    async def _published(self) -> Sequence[Published]:
        async with self._one_at_a_time:
            now = self._now()
            if self._read is not None and now - self._read[0] < _FRESH:
                return self._read[1]
            async with self._db.read() as reading:
                found = await payouts.published(reading)
            self._read = now, found
            return found


def _language(request: Request) -> str:
    """The first that the browser names, if it is Chinese; English else."""
    first = request.headers.get("accept-language", "").split(",")[0].strip()
    return "zh-CN" if pages.is_chinese(first) else "en"
