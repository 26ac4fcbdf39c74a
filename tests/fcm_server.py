"""The FCM sandbox over real HTTP, in a thread of the test process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from app.adapters.fcm_sandbox import Sandbox, create_sandbox, write_credentials


@dataclass(frozen=True)
class RunningSandbox:
    url: str
    credentials: Path
    sandbox: Sandbox

    def stats(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self.url}/stats", trust_env=False).json()
        return answer

    def messages(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = httpx.get(f"{self.url}/messages", trust_env=False).json()
        return answer


@contextmanager
def serving(app: Starlette, listener: socket.socket | None = None) -> Iterator[str]:
    """The URL at which `app` answers, in a thread of this process."""
    listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="critical", timeout_keep_alive=60, timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the sandbox did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


@contextmanager
def running_sandbox(folder: Path, **settings: Any) -> Iterator[RunningSandbox]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    credentials = folder / "fcm.json"
    write_credentials(credentials, f"http://127.0.0.1:{listener.getsockname()[1]}/token")
    app = create_sandbox(credentials, **settings)
    with serving(app, listener) as url:
        yield RunningSandbox(url, credentials, app.state.sandbox)
