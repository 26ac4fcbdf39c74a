"""Pushes printed to the log, for development without credentials of a real provider."""

import hashlib

import structlog

from app.adapters.push import PushMessage, PushOutcome, PushResult

_log = structlog.get_logger(__name__)


class LogProvider:
    """Says SENT to everything. Prints what a locked screen would show, never the token."""

    name = "log"
    services = ("FCM", "JPUSH", "SMS", "EMAIL")

    async def send(self, message: PushMessage) -> PushResult:
        _log.info(
            "push",
            provider=self.name,
            device=hashlib.sha256(message.token.encode()).hexdigest()[:12],
            title=message.title,
            body=message.body,
            message_id=message.message_id,
        )
        return PushResult(PushOutcome.SENT, provider_message_id=f"log/{message.message_id}")

    async def close(self) -> None:
        """Nothing is open."""
