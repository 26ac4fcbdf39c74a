"""The web process without its features: routes, layers and the development pages."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from app.config import Mode, Settings
from app.graphql.http import GraphQLOverHttp
from app.graphql.serving import Serving
from app.graphql.websocket import GraphQLOverWebSocket
from app.middleware import Requests, Shortcut
from app.probes import Probes

GRAPHQL_PATH = "/graphql"

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

_EXPLORER = (Path(__file__).parent / "graphql" / "explorer.html").read_text("utf-8")


def build(
    settings: Settings,
    serving: Serving,
    probes: Probes,
    lifespan: Lifespan | None = None,
    further: Sequence[BaseRoute] = (),
) -> Starlette:
    graphql = GraphQLOverHttp(serving)
    routes: list[BaseRoute] = [
        Route(GRAPHQL_PATH, graphql),
        WebSocketRoute(GRAPHQL_PATH, GraphQLOverWebSocket(serving)),
        *probes.routes(),
        *further,
    ]
    if settings.mode is Mode.DEVELOPMENT:
        routes += _development_pages(serving)
    return _Application(_layers(settings, graphql), routes=routes, lifespan=lifespan)


class _Application(Starlette):
    """Our own layers are outermost, so that Starlette's answers get an id and headers too."""

    def __init__(self, layers: Sequence[Middleware], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._layers = layers

    def build_middleware_stack(self) -> ASGIApp:
        app = super().build_middleware_stack()
        for cls, args, kwargs in reversed(self._layers):
            app = cls(app, *args, **kwargs)
        return app


def _layers(settings: Settings, graphql: ASGIApp) -> list[Middleware]:
    production = settings.mode is Mode.PRODUCTION
    layers = [Middleware(Requests, graphql_path=GRAPHQL_PATH, hsts=production)]
    if settings.cors_origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["POST"],
                allow_headers=["authorization", "content-type", "x-acting-for", "x-request-id"],
                expose_headers=["x-request-id"],
            )
        )
    layers.append(Middleware(Shortcut, path=GRAPHQL_PATH, to=graphql))
    return layers


def _development_pages(serving: Serving) -> list[BaseRoute]:
    async def explorer(_request: Request) -> HTMLResponse:
        nonce = token_urlsafe(16)
        policy = (
            f"default-src 'none'; connect-src 'self'; style-src 'nonce-{nonce}'; "
            f"script-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'"
        )
        page = _EXPLORER.replace("NONCE", nonce)
        return HTMLResponse(page, headers={"content-security-policy": policy})

    async def sdl(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(serving.schema.as_str())

    return [
        Route("/graphiql", explorer, methods=["GET"]),
        Route("/schema.graphql", sdl, methods=["GET"]),
    ]
