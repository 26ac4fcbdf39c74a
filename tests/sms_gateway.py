"""A small SMS gateway that speaks the HTTP port over a real socket (`app/adapters/sms.py`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.adapters.push import TokenBucket
from app.adapters.sms import SmsProvider
from tests.fcm_server import serving

KEY = "the-key-of-the-gateway"


class SmsGateway:
    """Takes whatever is sent with the right key, once a reference."""

    def __init__(self) -> None:
        self.url = ""
        self.taken: list[dict[str, Any]] = []

    def provider(self) -> SmsProvider:
        bucket = TokenBucket(per_minute=600_000)
        return SmsProvider(url=self.url, key=KEY, concurrency=5, bucket=bucket)

    async def take(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"code": "UNAUTHORISED"}, 401)
        sms = await request.json()
        if any(it["reference"] == sms["reference"] for it in self.taken):
            return JSONResponse({}, 409)
        self.taken.append(sms)
        return JSONResponse({"id": f"gw-{len(self.taken)}"}, 202)


@contextmanager
def running_gateway() -> Iterator[SmsGateway]:
    gateway = SmsGateway()
    with serving(Starlette(routes=[Route("/sms", gateway.take, methods=["POST"])])) as url:
        gateway.url = f"{url}/sms"
        yield gateway
