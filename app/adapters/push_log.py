"""Pushes printed to the log, for development without credentials of a real provider."""

import hashlib

import structlog

from app.adapters.push import PushMessage, PushOutcome, PushResult

_log = structlog.get_logger(__name__)


class LogProvider:
    """Says SENT to everything. Prints what a locked screen would show, never the token; of an SMS
    or e-mail nothing unless `with_letters`: it holds links and codes."""

    services = ("FCM", "JPUSH", "SMS", "EMAIL")

    def __init__(self, *, with_letters: bool = False) -> None:
        self._with_letters = with_letters

    async def send(self, message: PushMessage) -> PushResult:
        _log.info(
            "push",
            provider="log",
            device=hashlib.sha256(message.token.encode()).hexdigest()[:12],
            title=message.title,
            body=message.body if self._is_shown(message) else "[not shown]",
            message_id=message.message_id,
        )
        return PushResult(PushOutcome.SENT, provider_message_id=f"log/{message.message_id}")

    def _is_shown(self, message: PushMessage) -> bool:
        return self._with_letters or message.service not in ("SMS", "EMAIL")

    async def close(self) -> None:
        """Nothing is open."""
