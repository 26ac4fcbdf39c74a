"""All that this process can send by, as one provider: each message goes by its service."""

from collections.abc import Sequence

from app.adapters.fcm import FcmProvider
from app.adapters.jpush import JPushProvider
from app.adapters.push import PushMessage, PushProvider, PushResult
from app.adapters.push_log import LogProvider
from app.adapters.sms import SmsProvider
from app.adapters.smtp import SmtpProvider
from app.config import Mode, Settings


class Senders:
    """Of two that carry the same service the first is taken."""

    def __init__(self, providers: Sequence[PushProvider]) -> None:
        self._providers = providers
        self._by_service = {
            service: provider for provider in reversed(providers) for service in provider.services
        }
        self.services = tuple(self._by_service)

    async def send(self, message: PushMessage) -> PushResult:
        return await self._by_service[message.service].send(message)

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()


def from_settings(settings: Settings) -> PushProvider | None:
    """What is configured; without any of it the log in development, and nothing (the inbox and
    the worklist only) in production. Call it inside the event loop that uses it."""
    providers: list[PushProvider] = []
    if settings.fcm_credentials is not None:
        providers.append(FcmProvider.from_settings(settings))
    if settings.jpush_app_key is not None:
        providers.append(JPushProvider.from_settings(settings))
    if settings.smtp_url is not None:
        providers.append(SmtpProvider.from_settings(settings))
    if settings.sms_url is not None:
        providers.append(SmsProvider.from_settings(settings))
    if providers:
        return providers[0] if len(providers) == 1 else Senders(providers)
    if settings.mode is Mode.DEVELOPMENT or settings.embedded:
        return LogProvider(with_letters=settings.mode is Mode.DEVELOPMENT)
    return None
