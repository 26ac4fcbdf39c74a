"""Structured JSON logs and the metrics of every process.

A log line never holds a variable, a body, a query string, a token or a health fact. Stacks
are written without the exceptions' messages in production, because those quote values.
"""

import logging
import sys
import time
import traceback
from collections.abc import Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self, TextIO

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

REGISTRY = CollectorRegistry()

REQUESTS = Counter(
    "wellward_requests_total",
    "GraphQL operations by name (trusted documents only; the rest is `other`) and outcome.",
    ["operation", "outcome"],
    registry=REGISTRY,
)
LATENCY = Histogram(
    "wellward_request_seconds",
    "Time from the first byte of a GraphQL request to its answer.",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
SUBSCRIPTIONS = Gauge(
    "wellward_subscriptions", "Subscriptions open in this process.", registry=REGISTRY
)
UNEXPECTED_ERRORS = Counter(
    "wellward_internal_errors_total", "Errors that were masked.", registry=REGISTRY
)
POOL = Gauge(
    "wellward_pool_connections",
    "Database connections of this process by pool and state.",
    ["pool", "state"],
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "wellward_queue_jobs",
    "Jobs in the queue by name and state.",
    ["job", "state"],
    registry=REGISTRY,
)
QUEUE_LATE = Gauge(
    "wellward_queue_late_seconds",
    "How long the job that is due the longest has waited for a worker.",
    registry=REGISTRY,
)
CLOCK_SILENT = Gauge(
    "wellward_clock_silent_seconds",
    "How long ago the clock last gave out a slot; below 10 while a worker keeps it.",
    registry=REGISTRY,
)
PUSHES = Gauge(
    "wellward_pushes", "Push messages of the last day by result.", ["result"], registry=REGISTRY
)
LETTERS = Gauge(
    "wellward_letters",
    "SMS and e-mails of the last day by channel and result.",
    ["channel", "result"],
    registry=REGISTRY,
)


@lru_cache(maxsize=4096)
def of_operation(operation: str, outcome: str) -> tuple[Counter, Histogram]:
    """The count and the latency of an operation: to find them by labels takes longer than to
    raise them."""
    return REQUESTS.labels(operation, outcome), LATENCY.labels(operation)


_SECRET_KEYS = ("authorization", "token", "password", "secret", "variables", "cookie")

_access_log = logging.getLogger("app.access")
_stream: TextIO | None = None
"""Where the logs go; None is whatever standard error is at the time."""

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def bind_request_id(request_id: str) -> None:
    """Every log line of this task and of those it starts carries the id from here on."""
    _request_id.set(request_id)


@dataclass(slots=True)
class RequestNote:
    """What the access log and the metrics say of one request; each part adds what it knows."""

    request_id: str = ""
    operation: str = ""
    """Name of a trusted document; empty for everything else, which anybody may name."""
    outcome: str = ""

    @classmethod
    def of(cls, scope: MutableMapping[str, Any]) -> Self:
        found: Self | None = scope.get("wellward.note")
        if found is None:
            found = scope["wellward.note"] = cls()
        return found


def configure_logging(level: str, *, messages: bool, stream: TextIO | None = None) -> None:
    """JSON lines on standard error for our own loggers and everybody else's.

    `messages` adds the texts of exceptions to their stacks: for development only.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
        _drop_secrets,
        _Stack(messages=messages),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    global _stream
    _stream = stream
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _first_line],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
        )
    )
    root = logging.getLogger()
    others = [found for found in root.handlers if not isinstance(found, _Handler)]
    root.handlers[:] = [*others, handler]
    # Libraries quote what they handle: statements with parameters, URLs with query strings.
    root.setLevel(logging.WARNING)
    logging.getLogger("app").setLevel(level.upper())


def write_access(level: int, line: dict[str, Any]) -> None:
    """One line of the access log, in the form of the others but straight to the stream: the
    processors above would cost as much as a fast request."""
    if not _access_log.isEnabledFor(level):
        return
    line["logger"] = _access_log.name
    line["level"] = "info" if level == logging.INFO else logging.getLevelName(level).lower()
    line["timestamp"] = datetime.fromtimestamp(time.time(), UTC)
    (_stream or sys.stderr).write(orjson.dumps(line, option=_LINE).decode())


_LINE = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            (_stream or sys.stderr).write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - logging's own way to report that it cannot log
            self.handleError(record)


class _Stack:
    """Replaces `exc_info` by the chain of exceptions: type, frames and, in development, the
    message. A frame is file, line and function; it shows code, never values."""

    def __init__(self, *, messages: bool) -> None:
        self._messages = messages

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        error = _exception(event.pop("exc_info", None))
        if error is not None:
            event["exception"] = [self._one(found) for found in _chain(error)]
        return event

    def _one(self, error: BaseException) -> dict[str, Any]:
        frames = traceback.extract_tb(error.__traceback__)[-30:]
        found: dict[str, Any] = {
            "type": f"{type(error).__module__}.{type(error).__qualname__}",
            "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        # PostgreSQL's code says what went wrong without saying for whom.
        sqlstate = getattr(error, "sqlstate", None)
        if isinstance(sqlstate, str):
            found["sqlstate"] = sqlstate
        if self._messages:
            found["message"] = str(error)[:500]
        return found


def _exception(found: bool | ExcInfo | BaseException | None) -> BaseException | None:
    if isinstance(found, BaseException):
        return found
    if isinstance(found, tuple):
        return found[1]
    return sys.exc_info()[1] if found else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what caused it, at most ten."""
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return
        yield current
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = _request_id.get()
    if request_id:
        event.setdefault("request_id", request_id)
    return event


def _first_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """asyncio, for one, adds the repr of a task with its exception below the message."""
    event["event"] = str(event["event"]).partition("\n")[0][:500]
    return event


def _drop_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last line of defence; nobody should have passed them in the first place."""
    for key in event:
        if _is_secret(key):
            event[key] = "[removed]"
    return event


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return any(secret in key.lower() for secret in _SECRET_KEYS)


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
