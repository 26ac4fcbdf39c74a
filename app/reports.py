"""`GET /reports/MEMBER/YYYY-MM`: the health report to print, by the links that the API makes."""

import base64
import hashlib
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.adapters.links import Links
from app.civil_time import is_locale
from app.db import Database
from app.endpoints import failed, read_uuid
from app.graphql.context import Context, Viewer
from app.graphql.serving import MakeContext
from app.insights import report, report_page
from app.observability import RequestNote

_EMPLOYEE = text("select roles from staff where staff_id = :id and active").bindparams(
    bindparam("id", type_=Uuid)
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(report_page.STYLE.encode()).digest()).decode()
_HEADERS = {
    "content-disposition": "inline",
    "content-security-policy": report_page.CONTENT_SECURITY_POLICY.format(style=_STYLE_HASH),
}


class Reports:
    def __init__(
        self,
        db: Database,
        links: Links,
        *,
        make_context: MakeContext,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._links = links
        self._make_context = make_context
        self._now = now

    def routes(self) -> list[Route]:
        return [Route("/reports/{member}/{month}", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """To the member for whom the link was made, or the employee, while they may see the
        member and the member consents."""
        sent = dict(request.query_params)
        member_id, month = (
            read_uuid(request.path_params["member"]),
            _month(request.path_params["month"]),
        )
        if not self._links.is_open(request.url.path, sent, now=self._now()):
            return failed("FORBIDDEN", "This link is over; open the report again.", 403)
        locale = sent.get("locale", "en")
        if member_id is None or month is None or not is_locale(locale):
            return failed("NOT_FOUND", "There is no such report.", 404)
        by_employee = "by" in sent
        # Recorded before it is shown, or not shown.
        if by_employee and not await self._may_see(sent["by"], member_id, request):
            return failed("FORBIDDEN", "This is not yours to see.", 403)
        async with self._db.read() as reading:
            found = await report.of_month(
                reading, member_id, month, consented_only=by_employee, now=self._now()
            )
        if found is None:
            return failed("NOT_FOUND", "There is no such report.", 404)
        return Response(report_page.page(found, locale), headers=_HEADERS, media_type="text/html")

    async def _may_see(self, staff: str, member_id: UUID, request: Request) -> bool:
        staff_id = read_uuid(staff)
        if staff_id is None:
            return False
        async with self._db.read() as reading:
            roles = (await reading.execute(_EMPLOYEE, {"id": staff_id})).scalar_one_or_none()
        if roles is None:
            return False
        viewer = Viewer(staff_id=staff_id, roles=frozenset(roles))
        note = RequestNote.of(request.scope)
        made: Any = self._make_context(viewer, request_id=note.request_id, operation="report")
        context: Context = made
        return await context.may_see(member_id)


def _month(text: str) -> date | None:
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
    return found if report.YEAR_MIN <= found.year <= report.YEAR_MAX else None
