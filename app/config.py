"""Every setting, from the environment (prefix `WELLWARD_`). README.md documents the same list."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import ConfigurationError

READINGS_KEPT_DAYS_MIN = 400
# With a plus and 32 signs the local part has 64 at most (RFC 5321, 4.5.3.1.1).
_RETURN_PATH = re.compile(r"[A-Za-z0-9._-]{1,30}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")
_APP_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,39}")
_NO_APP = ("http", "https", "ftp", "file", "data", "javascript", "vbscript", "about", "blob")
_HERE = ("127.0.0.1", "::1", "localhost")


class Mode(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Read once by the edges (`main`, `worker`, `cli`) and handed down."""

    model_config = SettingsConfigDict(
        env_prefix="WELLWARD_", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    mode: Mode = Field(
        Mode.DEVELOPMENT,
        description="`production` runs trusted documents only, without introspection, GraphiQL "
        "and the local token issuer.",
    )
    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(
        8000,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("WELLWARD_PORT", "PORT"),
        description="Port of the web server; `PORT` is honoured too.",
    )

    data_dir: Path = Field(Path("var"), description="Where embedded mode keeps everything.")
    database_url: SecretStr | None = Field(
        None,
        description="A PostgreSQL server (15 to 18), as the application role. "
        "Without it an embedded PostgreSQL runs under the data directory.",
    )
    migration_database_url: SecretStr | None = Field(
        None, description="The same database as its owner, for migrations; default: the former."
    )
    pg_bin: Path | None = Field(
        None, description="Folder of other PostgreSQL binaries for embedded mode."
    )
    pool_size: int = Field(
        8, ge=1, le=100, description="Database connections at once: so many read, so many write."
    )
    pool_timeout_seconds: float = Field(
        10, gt=0, description="How long a request waits for a connection before it gives up."
    )
    prepared_statements: bool = Field(
        True, description="Off behind PgBouncer's transaction pooling."
    )
    listen_database_url: SecretStr | None = Field(
        None,
        description="A session-mode connection for LISTEN/NOTIFY when the database URL "
        "goes through a transaction pooler.",
    )

    request_timeout_seconds: float = Field(30, gt=0, description="Longest a request may take.")
    shutdown_timeout_seconds: float = Field(
        20, gt=0, description="How long requests and jobs may finish after SIGTERM."
    )
    body_bytes_max: int = Field(1_000_000, ge=1024, description="Largest request body.")
    cors_origins: list[str] = Field(
        [], description="Origins that may call from a browser, as JSON; none by default."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR."
    )

    oidc_issuers: list[str] = Field(
        [], description='Trusted OIDC issuers as JSON: `["https://id.example|audience|jwks-url"]`.'
    )
    firebase_project_id: str | None = Field(
        None, description="Trust ID tokens of this Firebase project."
    )

    fcm_credentials: Path | None = Field(
        None,
        description="Service-account JSON of Firebase. Without it pushes are printed to "
        "the log (embedded mode) and the inbox is kept.",
    )
    fcm_base_url: str = Field(
        "https://fcm.googleapis.com", description="Where FCM is; the sandbox's URL in development."
    )
    push_concurrency: int = Field(50, ge=1, le=500, description="Requests under way at FCM.")
    push_per_minute: int = Field(
        540_000, ge=1, description="Token bucket below FCM's 600,000 a minute."
    )
    jpush_app_key: str | None = Field(
        None, description="App key of JPush, for phones that FCM does not reach."
    )
    jpush_master_secret: SecretStr | None = Field(None, description="Its master secret.")
    jpush_base_url: str = Field(
        "https://api.jpush.cn", description="Where JPush is; a sandbox's URL in development."
    )
    jpush_apns_production: bool = Field(
        True, description="Off while the app is signed for Apple's development environment."
    )
    jpush_per_minute: int = Field(
        540, ge=1, description="Token bucket below JPush's quota, 600 a minute without a contract."
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Sends e-mail: `smtps://user:password@host:465`, or `smtp://host:587`, which "
        "requires STARTTLS unless `?tls=off`.",
    )
    smtp_from: str | None = Field(
        None, description="Sender of e-mails: `Wellward <no-reply@example.com>`."
    )
    sms_url: str | None = Field(
        None, description="Sends SMS: the HTTP port described in `app/adapters/sms.py`."
    )
    sms_key: SecretStr | None = Field(None, description="Its bearer key.")
    sms_per_minute: int = Field(600, ge=1, description="Token bucket below the gateway's quota.")
    smtp_return_path: str | None = Field(
        None,
        description="Where e-mails that cannot be delivered return to: `bounces@example.com` "
        "becomes `bounces+REFERENCE@example.com`; the sender when left out.",
    )
    message_secrets: dict[str, list[SecretStr]] = Field(
        {},
        description="Signing secrets of who tells what became of SMS and e-mails, as JSON, the "
        'present one and, while it changes, the one before: `{"sms": ["whsec_..."], "email": '
        '["whsec_..."]}`.',
    )
    public_url: str | None = Field(
        None,
        description="Where members reach the web process, as `https://w.example.com`: links in "
        "SMS and e-mails begin with it. Without it they carry none.",
    )
    app_url: str | None = Field(
        None,
        description="Where such a link leads on to, with `{message}` for the message's id: "
        "`https://app.example.com/messages/{message}`, or a scheme of the app.",
    )
    link_origins: list[str] = Field(
        [],
        description="Where the link of a message without anything about the member may lead "
        'besides, as JSON: `["https://www.example.com", "wellward://"]`; other actions lead to '
        "the message.",
    )
    voucher_key: SecretStr | None = Field(
        None,
        description="Seals voucher codes: 32 random bytes in base64, of several comma-separated "
        "keys the first, and each opens what it sealed; default in embedded mode: a key in the "
        "data directory.",
    )
    gateway_secrets: dict[str, list[SecretStr]] = Field(
        {},
        description="Signing secrets of device gateways as JSON, the present one and, while it "
        'changes, the one before: `{"terra": ["..."], "open-wearables": ["whsec_..."]}`.',
    )
    payment_secrets: dict[str, list[SecretStr]] = Field(
        {},
        description="Signing secrets of payment providers as JSON, the present one and, while it "
        'changes, the one before: `{"acquirer": ["whsec_..."]}`.',
    )
    payment_provider: str | None = Field(
        None,
        description="The provider that collects premiums and pays refunds: one of those with a "
        "secret, whose first secret signs what it is told. Without one employees do that by hand.",
    )
    payment_url: str | None = Field(
        None, description="Where that provider takes orders; `https`, or `http` on this machine."
    )
    storage_dir: Path | None = Field(
        None,
        description="Where uploaded photos are kept, shared by all web processes and workers; "
        "default: in the data directory.",
    )
    ledger_roots_path: Path | None = Field(
        None,
        description="Append-only file for hourly ledger roots; default: in the data directory.",
    )
    readings_kept_days: int = Field(
        3660,
        ge=0,
        description="For how long readings and daily totals are kept, with all their versions, at "
        "least 400 days; 0 is for ever.",
    )
    streams_kept_days: int = Field(
        400,
        ge=0,
        description="For how long the aggregates of sensors' streams are kept; 0 is for ever.",
    )

    @model_validator(mode="after")
    def _database_urls_are_postgresql(self) -> Self:
        for name in ("database_url", "migration_database_url", "listen_database_url"):
            value: SecretStr | None = getattr(self, name)
            if value is None:
                continue
            scheme = urlsplit(value.get_secret_value()).scheme
            if scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
                raise ConfigurationError(
                    f"WELLWARD_{name.upper()}: the scheme is {scheme!r}; "
                    "use postgresql://user:password@host:port/database"
                )
        return self

    @model_validator(mode="after")
    def _senders_are_whole(self) -> Self:
        for one, other in (
            ("jpush_app_key", "jpush_master_secret"),
            ("smtp_url", "smtp_from"),
            ("sms_url", "sms_key"),
        ):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ConfigurationError(
                    f"WELLWARD_{one.upper()} and WELLWARD_{other.upper()} go together."
                )
        return self

    @model_validator(mode="after")
    def _links_lead_where_they_may(self) -> Self:
        if (self.public_url is None) != (self.app_url is None):
            raise ConfigurationError(
                "WELLWARD_PUBLIC_URL and WELLWARD_APP_URL are set both or neither."
            )
        if self.public_url is not None:
            _check_origin("WELLWARD_PUBLIC_URL", self.public_url.removesuffix("/"))
        if self.app_url is not None and not (
            origin_of(self.app_url) and self.app_url.count("{message}") == 1
        ):
            raise ConfigurationError(
                "WELLWARD_APP_URL: use https://app.example.com/messages/{message}, or a scheme of "
                "the app, as app://messages/{message}."
            )
        for given in self.link_origins:
            if origin_of(given) != given:
                raise ConfigurationError(
                    f"WELLWARD_LINK_ORIGINS: {given!r} is no origin; use https://host or app://."
                )
        return self

    @model_validator(mode="after")
    def _a_return_path_is_an_address(self) -> Self:
        if self.smtp_return_path is not None and not _RETURN_PATH.fullmatch(self.smtp_return_path):
            raise ConfigurationError(
                "WELLWARD_SMTP_RETURN_PATH: use an address of 30 characters or less before the @, "
                "without a +, as bounces@example.com."
            )
        return self

    @model_validator(mode="after")
    def _readings_are_kept_for_what_is_made_of_them(self) -> Self:
        """Assessments and reports look back a year."""
        if 0 < self.readings_kept_days < READINGS_KEPT_DAYS_MIN:
            raise ConfigurationError(
                f"WELLWARD_READINGS_KEPT_DAYS is {self.readings_kept_days}: keep readings for at "
                f"least {READINGS_KEPT_DAYS_MIN} days, or 0 for ever."
            )
        return self

    @model_validator(mode="after")
    def _a_payment_provider_has_an_address(self) -> Self:
        if (self.payment_provider is None) != (self.payment_url is None):
            raise ConfigurationError(
                "WELLWARD_PAYMENT_PROVIDER and WELLWARD_PAYMENT_URL are set both or neither."
            )
        if self.payment_url is None:
            return self
        if self.payment_provider not in self.payment_secrets:
            raise ConfigurationError(
                f"WELLWARD_PAYMENT_PROVIDER: {self.payment_provider!r} has no secret in "
                "WELLWARD_PAYMENT_SECRETS."
            )
        url = urlsplit(self.payment_url)
        here = url.scheme == "http" and url.hostname in ("127.0.0.1", "::1", "localhost")
        if not (here or (url.scheme == "https" and url.hostname)):
            raise ConfigurationError(
                "WELLWARD_PAYMENT_URL must begin with https:// (http:// on this machine only)."
            )
        return self

    @property
    def embedded(self) -> bool:
        return self.database_url is None

    @property
    def storage_path(self) -> Path:
        return self.storage_dir or self.data_dir / "storage"

    @property
    def roots_path(self) -> Path:
        return self.ledger_roots_path or self.data_dir / "ledger-roots.jsonl"


def origin_of(url: str) -> str | None:
    """`https://host[:port]` of a link to a site, `app://` of one into an app; None of anything
    else, as `http`, unless it is this machine, or a link that names somebody."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.username is not None or any(it in url for it in "\\ \t\r\n"):
        return None
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE):
        shown = "" if port is None else f":{port}"
        return f"{parts.scheme}://{_host(parts.hostname)}{shown}" if parts.hostname else None
    is_app = _APP_SCHEME.fullmatch(parts.scheme) and parts.scheme not in _NO_APP
    return f"{parts.scheme}://" if is_app and url.startswith(f"{parts.scheme}://") else None


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _check_origin(setting: str, url: str) -> None:
    """Raises ConfigurationError unless it is a site without anything behind it."""
    if not url.startswith("http") or origin_of(url) != url:
        raise ConfigurationError(
            f"{setting} must be https://host, without a path (http:// on this machine only)."
        )
