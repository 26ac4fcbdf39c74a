"""The outside world on loopback, for developers."""

from typing import Annotated

import typer

from app.adapters import fcm_sandbox, payment_sandbox
from app.config import Settings

commands = typer.Typer()


@commands.command("fcm-sandbox")
def sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8090,
    host: Annotated[str, typer.Option(help="Loopback only makes sense.")] = "127.0.0.1",
) -> None:
    """A loopback FCM on which a developer sees pushes arrive."""
    settings = Settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    fcm_sandbox.run(host, port, settings.data_dir / "fcm-sandbox.json")


@commands.command("payment-sandbox")
def payments(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8091,
    host: Annotated[str, typer.Option(help="Loopback only makes sense.")] = "127.0.0.1",
    secret: Annotated[
        str | None, typer.Option(envvar="WELLWARD_PAYMENT_SANDBOX_SECRET", help="whsec_...")
    ] = None,
    pays_after_seconds: Annotated[float, typer.Option(min=0)] = 5,
) -> None:
    """A loopback payment provider: takes what it is told and says that it was paid."""
    settings = Settings()
    webhook = f"http://127.0.0.1:{settings.port}/payments/{payment_sandbox.NAME}/events"
    payment_sandbox.run(
        host,
        port,
        secret=secret or payment_sandbox.new_secret(),
        webhook=webhook,
        pays_after_seconds=pays_after_seconds,
    )
