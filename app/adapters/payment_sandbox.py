"""A loopback payment provider, for developers and tests: takes signed orders, tells by webhook.

Whatever it is told under one key it does once. What it answers next can be chosen: `faults` are
taken one after the other, each for one request.

quota     429, Retry-After: 7               refuse    422 {"code": "MANDATE_MISSING"}
unavail   503, Retry-After: 1               html      a gateway's 502 page
drop      done, and the connection closed without an answer
slow      done, and answered after `slow_seconds`

`POST /faults` takes them as a JSON list; `GET /` shows what is collected and paid back.
"""

import asyncio
import base64
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.adapters.payment_http import sign

KEPT_ORDERS = 10_000
NAME = "sandbox"
PATH = "/orders"
_TELL_ATTEMPTS = 10


class PaymentSandbox:
    """What the sandbox was told and has done. The public values may be changed live."""

    def __init__(
        self,
        secret: bytes,
        *,
        webhook: str | None = None,
        slow_seconds: float = 30,
        pays_after_seconds: float = 0,
    ) -> None:
        self._secret = secret
        self._webhook = webhook
        self.slow_seconds = slow_seconds
        self._pays_after_seconds = pays_after_seconds
        self.faults: deque[str] = deque()
        self.requests = 0
        self.orders: dict[str, dict[str, Any]] = {}
        """By key, each once, in the order in which they came."""
        self._telling: set[asyncio.Task[None]] = set()

    def collecting(self) -> dict[str, int]:
        """What it collects of each invoice, in minor units: the newest order counts."""
        found: dict[str, int] = {}
        for order in self.orders.values():
            if order["type"] == "invoice.issued":
                found[order["invoice"]] = order["amount"]
            elif order["type"] == "invoice.withdrawn":
                found.pop(order["invoice"], None)
        return found

    async def order(self, request: Request) -> Response:
        self.requests += 1
        body = await request.body()
        if not self._is_signed(request.headers, body):
            return _answer(401, "SIGNATURE_INVALID")
        fault = self.faults.popleft() if self.faults else None
        if fault in _REFUSALS:
            return _REFUSALS[fault]()
        key, order = request.headers["idempotency-key"], json.loads(body)
        known = self.orders.get(key)
        if known is not None and known != order:
            return _answer(409, "KEY_REUSED")
        if known is None:
            self.orders[key] = order
            while len(self.orders) > KEPT_ORDERS:
                del self.orders[next(iter(self.orders))]
            self._tell_later(order)
        if fault == "drop":
            return _Dropped({"code": "TAKEN"}, 202)
        if fault == "slow":
            began = time.monotonic()
            while time.monotonic() < began + self.slow_seconds:  # noqa: ASYNC110 - changed live
                await asyncio.sleep(0.02)
        return _answer(200 if known else 202, "TAKEN")

    async def choose(self, request: Request) -> Response:
        self.faults.extend(str(it) for it in await request.json())
        return JSONResponse(list(self.faults))

    async def show(self, request: Request) -> Response:
        return JSONResponse({"collecting": self.collecting(), "orders": list(self.orders.values())})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.show),
                Route(PATH, self.order, methods=["POST"]),
                Route("/faults", self.choose, methods=["POST"]),
            ]
        )

    def _is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        try:
            at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
            signed = sign(self._secret, headers["webhook-id"], body, now=at)
        except (KeyError, ValueError):
            return False
        same_key = headers.get("idempotency-key") == headers["webhook-id"]
        return same_key and signed["webhook-signature"] == headers.get("webhook-signature")

    def _tell_later(self, order: dict[str, Any]) -> None:
        if self._webhook is None or order["type"] == "invoice.withdrawn":
            return
        task = asyncio.create_task(self._tell(order))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, order: dict[str, Any]) -> None:
        """That it was paid, unless it was withdrawn meanwhile; until it is answered."""
        await asyncio.sleep(self._pays_after_seconds)
        is_refund = order["type"] == "refund.requested"
        if not is_refund and self.collecting().get(order["invoice"]) != order["amount"]:
            return
        subject = "refund" if is_refund else "invoice"
        event = {
            "type": f"{subject}.paid",
            "id": f"evt_{order['id']}",
            subject: order[subject],
            "amount": order["amount"],
            "currency": order["currency"],
            "happened_at": _now().isoformat(),
        }
        body = json.dumps(event).encode()
        assert self._webhook is not None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            for attempt in range(_TELL_ATTEMPTS):
                headers = sign(self._secret, event["id"], body, now=_now())
                try:
                    async with http.post(self._webhook, data=body, headers=headers) as answer:
                        if answer.status < 500:
                            return
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(min(30, 2**attempt))


def run(host: str, port: int, *, secret: str, webhook: str, pays_after_seconds: float) -> None:
    """Serve until interrupted. `secret` is as in `WELLWARD_PAYMENT_SECRETS`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    box = PaymentSandbox(key, webhook=webhook, pays_after_seconds=pays_after_seconds)
    sys.stdout.write(
        f"Payment sandbox on http://{host}:{port}. Start Wellward with\n"
        f"  WELLWARD_PAYMENT_PROVIDER={NAME}\n"
        f"  WELLWARD_PAYMENT_URL=http://{host}:{port}{PATH}\n"
        f'  WELLWARD_PAYMENT_SECRETS=\'{{"{NAME}": ["{secret}"]}}\'\n'
    )
    sys.stdout.flush()
    uvicorn.run(box.app(), host=host, port=port, log_level="warning")


def new_secret() -> str:
    return f"whsec_{base64.b64encode(os.urandom(32)).decode()}"


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the world outside has a clock of its own


def _answer(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"code": code}, status, headers)


_REFUSALS: Mapping[str | None, Callable[[], Response]] = {
    "quota": lambda: _answer(429, "TOO_MANY_REQUESTS", {"Retry-After": "7"}),
    "unavail": lambda: _answer(503, "UNAVAILABLE", {"Retry-After": "1"}),
    "refuse": lambda: _answer(422, "MANDATE_MISSING"),
    "html": lambda: HTMLResponse("<html><body>502 Bad Gateway</body></html>", 502),
}


class _Dropped(JSONResponse):
    """Promises a whole answer and stops in the middle; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
