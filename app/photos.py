"""`POST /photos` by members, and `GET /photos/KEY` by the links that reviews show."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Uuid, bindparam, text
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.adapters.identity import InvalidToken, Reason
from app.adapters.links import Links
from app.adapters.storage import StoragePort
from app.checkins import photos
from app.checkins.checks import checks
from app.checkins.images import MediaType
from app.db import Database
from app.endpoints import busy, failed, read_uuid
from app.errors import Busy, ErrorCode, Forbidden, RequestFailed, Unauthenticated, UserError
from app.graphql.context import Context, Viewer
from app.graphql.http import read_body
from app.graphql.params import BadRequest
from app.graphql.serving import Authenticate, MakeContext, bearer_token
from app.observability import RequestNote

PATH = "/photos"

_STATUS = {ErrorCode.CONSENT_MISSING: 403, ErrorCode.LIMIT_REACHED: 429}
"""Of other refusals: 422."""
_EMPLOYEE = text("select roles from staff where staff_id = :id and active").bindparams(
    bindparam("id", type_=Uuid)
)


class Photos:
    def __init__(
        self,
        db: Database,
        storage: StoragePort,
        links: Links,
        *,
        authenticate: Authenticate,
        make_context: MakeContext,
        now: Callable[[], datetime],
        timeout_seconds: float,
    ) -> None:
        self._db = db
        self._storage = storage
        self._links = links
        self._authenticate = authenticate
        self._make_context = make_context
        self._now = now
        self._timeout_seconds = timeout_seconds

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self.upload, methods=["POST"]),
            Route(f"{PATH}/{{key}}", self.show, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """The body is the photo itself; the answer is its key."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                photo_id = await self._keep(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return failed("TIMEOUT", "The upload took too long and was given up.", 408)
        except InvalidToken as error:
            status = 503 if error.reason is Reason.UNAVAILABLE else 401
            return failed("UNAUTHENTICATED", "Sign in again.", status)
        except BadRequest as error:
            return failed(error.code, str(error), error.status)
        except Busy:
            return busy()
        except RequestFailed as error:
            return failed(error.code, str(error), 403 if isinstance(error, Forbidden) else 401)
        except Refused as refused:
            status = _STATUS.get(refused.error.code, 422)
            return failed(refused.error.code, refused.error.text.to(refused.locale), status)
        return Response(
            orjson.dumps({"photoKey": photo_id.hex}), 201, media_type="application/json"
        )

    async def _keep(self, request: Request) -> UUID:
        """Raises InvalidToken, BadRequest, RequestFailed, Refused."""
        viewer = await self._authenticate(
            token=bearer_token(request.headers.get("authorization")),
            acting_for=request.headers.get("x-acting-for"),
        )
        member_id = viewer.acting_for or viewer.member_id
        if member_id is None:
            raise Unauthenticated
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in set(MediaType):
            raise BadRequest(
                f"Send one of {', '.join(MediaType)}.", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        content = await read_body(request.headers, request.receive, checks().photos.bytes_max)
        try:
            return await photos.keep(
                self._db,
                self._storage,
                member_id=member_id,
                content=content,
                media_type=media_type,
                now=self._now(),
            )
        except UserError as error:
            raise Refused(error, viewer.locale) from error

    async def show(self, request: Request) -> Response:
        """For the employee to whom the link was given, while they may see the member."""
        sent = dict(request.query_params)
        keys = {name: read_uuid(sent.get(name, "")) for name in ("member", "by")}
        photo_id = read_uuid(request.path_params["key"])
        member_id, staff_id = keys["member"], keys["by"]
        is_open = self._links.is_open(request.url.path, sent, now=self._now())
        if not is_open or member_id is None or staff_id is None or photo_id is None:
            return failed("FORBIDDEN", "This link is over; open the review again.", 403)
        context = await self._context(staff_id, request)
        # Recorded before it is shown, or not shown.
        if context is None or not await context.may_see(member_id):
            return failed("FORBIDDEN", "This is not yours to see.", 403)
        found = await photos.find(self._db, self._storage, member_id=member_id, photo_id=photo_id)
        if found is None:
            return failed("NOT_FOUND", "There is no such photo.", 404)
        headers = {
            "content-disposition": "inline",
            "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        }
        return Response(found.content, media_type=found.media_type, headers=headers)

    async def _context(self, staff_id: UUID, request: Request) -> Context | None:
        async with self._db.read() as reading:
            roles = (await reading.execute(_EMPLOYEE, {"id": staff_id})).scalar_one_or_none()
        if roles is None:
            return None
        viewer = Viewer(staff_id=staff_id, roles=frozenset(roles))
        note = RequestNote.of(request.scope)
        context: Any = self._make_context(viewer, request_id=note.request_id, operation="photo")
        return context  # type: ignore[no-any-return]


class Refused(Exception):
    """An expected refusal, and the language to say it in."""

    def __init__(self, error: UserError, locale: str) -> None:
        super().__init__(error.text.en)
        self.error = error
        self.locale = locale
