"""The local issuer of development, and the issuers that the settings name."""

import stat
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from app.adapters import identity, local_issuer
from app.adapters.identity import Reason, RemoteKeys
from app.adapters.local_issuer import LocalIssuer
from app.config import Mode, Settings
from app.errors import ConfigurationError
from tests.sign_in import (
    AUDIENCE,
    ED_KEY,
    ISSUER,
    NOW,
    KeyServer,
    claims,
    refusal,
    serving,
    sign,
    trusting_local,
)


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with serving() as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIssuer]:
    yield LocalIssuer(tmp_path_factory.mktemp("data"))


async def test_local_tokens_last_twelve_hours(local):
    proven = await trusting_local(local).verify(local.mint("staff:manager", now=NOW), now=NOW)

    assert proven == identity.Identity(
        local_issuer.ISSUER, "staff:manager", NOW + timedelta(hours=12)
    )


async def test_local_tokens_pass_through_a_served_key_set_too(server, local):
    server.document = local.jwks()
    verifier = trusting_local(RemoteKeys(server.url))

    proven = await verifier.verify(local.mint("member:demo", now=NOW), now=NOW)

    assert (proven.subject, server.fetches) == ("member:demo", 1)


def test_the_served_key_set_holds_no_private_part(local):
    (key,) = local.jwks()["keys"]

    assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


async def test_the_key_outlives_the_process_and_only_its_owner_reads_it(tmp_path):
    token = LocalIssuer(tmp_path).mint("member:demo", now=NOW)

    assert (await trusting_local(LocalIssuer(tmp_path)).verify(token, now=NOW)).subject
    path = tmp_path / local_issuer.KEY_PATH
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_another_data_directory_is_another_issuer(tmp_path):
    token = LocalIssuer(tmp_path / "a").mint("member:demo", now=NOW)

    verifier = trusting_local(LocalIssuer(tmp_path / "b"))
    assert await refusal(verifier, token) is Reason.INVALID


def test_simultaneous_starters_agree_on_one_key(tmp_path):
    for attempt in range(10):
        data_dir = tmp_path / str(attempt)
        barrier, ids = threading.Barrier(8), []

        def start(data_dir: Path = data_dir, barrier=barrier, ids=ids) -> None:
            barrier.wait()
            ids.append(LocalIssuer(data_dir).jwks()["keys"][0]["kid"])

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(ids) == 8
        assert len(set(ids)) == 1
        assert [path.name for path in (data_dir / "local-issuer").iterdir()] == ["key.pem"]


@pytest.mark.parametrize(
    "content", [b"", b"not a key", pytest.param(None, id="another kind of key")]
)
def test_a_spoilt_key_file_is_named_and_left_alone(tmp_path, content):
    path = tmp_path / local_issuer.KEY_PATH
    path.parent.mkdir()
    content = content or ED_KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"key\.pem holds no P-256 private key"):
        LocalIssuer(tmp_path)
    assert path.read_bytes() == content


def test_a_data_directory_that_is_a_file_is_a_clear_refusal(tmp_path):
    (tmp_path / "var").write_text("")

    with pytest.raises(ConfigurationError, match="cannot be used: Not a directory"):
        LocalIssuer(tmp_path / "var")


# --- from settings -------------------------------------------------------------------------


def configured(tmp_path: Path, **values: Any) -> Settings:
    return Settings(data_dir=tmp_path, **values)


def test_production_refuses_the_firebase_emulator(tmp_path):
    production = configured(tmp_path, mode=Mode.PRODUCTION)
    emulator = {"FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9099"}

    with pytest.raises(ConfigurationError, match="FIREBASE_AUTH_EMULATOR_HOST is set"):
        identity.refuse_emulator(production, emulator)
    with pytest.raises(ConfigurationError, match="FIREBASE_AUTH_EMULATOR_HOST is set"):
        identity.open_verifier(production, emulator)
    identity.refuse_emulator(production, {"FIREBASE_AUTH_EMULATOR_HOST": ""})
    identity.refuse_emulator(configured(tmp_path), emulator)


async def test_only_development_trusts_the_local_issuer(tmp_path):
    token = LocalIssuer(tmp_path).mint("member:demo", now=NOW)

    development = identity.open_verifier(configured(tmp_path), {})
    assert (await development.verify(token, now=NOW)).subject == "member:demo"
    production = identity.open_verifier(configured(tmp_path, mode=Mode.PRODUCTION), {})
    assert await refusal(production, token) is Reason.INVALID


def test_production_makes_no_local_key(tmp_path):
    identity.open_verifier(configured(tmp_path, mode=Mode.PRODUCTION), {})

    assert list(tmp_path.iterdir()) == []


def test_tokens_are_minted_in_development_on_the_embedded_database_only(tmp_path):
    assert local_issuer.open_local_issuer(configured(tmp_path)).mint("member:demo", now=NOW)
    with pytest.raises(ConfigurationError, match="for development"):
        local_issuer.open_local_issuer(configured(tmp_path, mode=Mode.PRODUCTION))
    with pytest.raises(ConfigurationError, match="embedded database only"):
        local_issuer.open_local_issuer(configured(tmp_path, database_url="postgresql://h/d"))


async def test_a_provider_of_the_settings_signs_members_in(tmp_path, server):
    entries = [f"{ISSUER}|{AUDIENCE}|{server.url}", f"{ISSUER}|wellward-console|{server.url}"]
    verifier = identity.open_verifier(
        configured(tmp_path, mode=Mode.PRODUCTION, oidc_issuers=entries), {}
    )

    assert (await verifier.verify(sign(claims()), now=NOW)).subject == "u1"
    console = sign(claims(aud="wellward-console", sub="u2"))
    assert (await verifier.verify(console, now=NOW)).subject == "u2"
    assert server.fetches == 1


async def test_firebase_tokens_are_those_of_the_project(tmp_path, server, monkeypatch):
    monkeypatch.setattr(identity, "FIREBASE_JWKS_URL", server.url)
    verifier = identity.open_verifier(configured(tmp_path, firebase_project_id="demo-x"), {})
    firebase = {"iss": "https://securetoken.google.com/demo-x", "aud": "demo-x"}
    at = int(NOW.timestamp())

    token = sign(claims(**firebase, auth_time=at - 9, firebase={"sign_in_provider": "phone"}))
    proven = await verifier.verify(token, now=NOW)
    assert (proven.issuer, proven.subject) == (firebase["iss"], "u1")

    other = {"iss": "https://securetoken.google.com/other", "aud": "other"}
    assert await refusal(verifier, sign(claims(**other))) is Reason.INVALID


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (["https://id.example"], "not of the form"),
        (["https://id.example||https://id.example/jwks"], "not of the form"),
        (["https://id.example|a|b|https://id.example/jwks"], "not of the form"),
        (["https://id.example|a|http://id.example/jwks"], "must begin with https"),
        (["https://id.example|a|file:///etc/passwd"], "must begin with https"),
        (["https://id.example|a|https://"], "must begin with https"),
        (["https://id.example|a|http://[oops"], "must begin with https"),
        ([f"{local_issuer.ISSUER}|a|https://id.example/jwks"], "the local issuer"),
        (["https://i|a|https://i/1", "https://i|b|https://i/2"], "two different JWKS URLs"),
    ],
)
def test_a_wrong_provider_setting_is_a_clear_sentence(tmp_path, entries, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        identity.open_verifier(configured(tmp_path, oidc_issuers=entries), {})
