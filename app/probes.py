"""Is the process alive, may it be sent requests, and what does it count."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
import structlog
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.observability import REGISTRY

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises when what it checks is not ready."""

_CHECK_SECONDS = 3


class Probes:
    def __init__(self, checks: Mapping[str, Check], refresh: Check | None = None) -> None:
        """`checks` by name decide readiness; `refresh` updates the gauges that are read
        from elsewhere when the metrics are asked for."""
        self._checks = checks
        self._refresh = refresh

    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def healthz(self, _request: Request) -> Response:
        """The event loop turns; asks nothing else, so that a dead database restarts nobody."""
        return _json({"status": "ok"}, 200)

    async def readyz(self, _request: Request) -> Response:
        names = list(self._checks)
        found = await asyncio.gather(*(self._ready(name) for name in names))
        ready = all(found)
        answer: dict[str, str] = {"status": "ok" if ready else "unavailable"}
        answer |= {name: "ok" if ok else "failed" for name, ok in zip(names, found, strict=True)}
        return _json(answer, 200 if ready else 503)

    async def metrics(self, _request: Request) -> Response:
        if self._refresh is not None:
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._refresh()
            except Exception as error:
                log.warning("metrics_refresh_failed", exc_info=error)
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def _ready(self, name: str) -> bool:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._checks[name]()
        except Exception as error:
            log.warning("not_ready", check=name, exc_info=error)
            return False
        return True


def _json(answer: Mapping[str, str], status: int) -> Response:
    return Response(orjson.dumps(answer), status, media_type="application/json")
