"""Some routes of ours over real HTTP, with the layers of every request and without GraphQL, which
takes longer to make than most tests take."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from app.db import Database
from app.middleware import Requests
from app.observability import configure_logging
from tests.toy_server import Toy, run_app


@contextmanager
def running_routes(
    database_url: str, routes: Callable[[Database], Sequence[BaseRoute]]
) -> Iterator[Toy]:
    configure_logging("INFO", messages=True)
    db = Database.open(database_url)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await db.close()

    layers = [Middleware(Requests, graphql_path="/graphql", hsts=False)]
    with run_app(Starlette(routes=routes(db), middleware=layers, lifespan=lifespan)) as site:
        yield site
