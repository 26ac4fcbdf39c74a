"""Voucher codes: sealed at rest, imported once, never written where somebody could read them."""

import asyncio
import stat
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.adapters.sealing import KEY_PATH, SealBroken, Sealed, Sealer, open_sealer
from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.rewards import codes, fulfilment
from app.schema import schema
from tests import processes
from tests.factories import NOON, contents
from tests.shoppers import (
    SHOW,
    VOUCHER,
    context_of,
    fulfil_due,
    import_codes,
    make_reward,
    make_shopper,
    one,
    redeem,
    rows,
    show,
    states,
    stock,
)

OLD, NEW = bytes(32), bytes([7]) * 32
PLACE = b"here"


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


# Sealing


def test_what_is_sealed_is_opened_in_its_place_under_its_key_only() -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("密码 CODE-1", place=PLACE)
    assert sealer.open(sealed, place=PLACE) == "密码 CODE-1"
    assert b"CODE-1" not in sealed.box
    assert sealer.seal("密码 CODE-1", place=PLACE).box != sealed.box
    for other, place in ((sealer, b"there"), (Sealer([NEW]), PLACE)):
        with pytest.raises(SealBroken):
            other.open(sealed, place=place)


def test_every_changed_byte_is_noticed() -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("CODE-1", place=PLACE)
    for index in range(len(sealed.box)):
        box = bytearray(sealed.box)
        box[index] ^= 1
        with pytest.raises(SealBroken):
            sealer.open(Sealed(sealed.key_id, bytes(box)), place=PLACE)


def test_a_key_may_be_followed_by_another() -> None:
    before, after = Sealer([OLD]), Sealer([NEW, OLD])
    sealed = before.seal("CODE-1", place=PLACE)
    assert after.open(sealed, place=PLACE) == "CODE-1"
    assert after.seal("CODE-1", place=PLACE).key_id != sealed.key_id
    assert before.fingerprints("CODE-1")[0] in after.fingerprints("CODE-1")
    assert before.fingerprints("CODE-1") != before.fingerprints("CODE-2")


def test_the_keys_come_from_the_setting() -> None:
    both = ",".join(b64encode(key).decode() for key in (NEW, OLD))
    sealer = open_sealer(settings(voucher_key=both))
    assert sealer is not None
    assert sealer.open(Sealer([OLD]).seal("x", place=PLACE), place=PLACE) == "x"


@pytest.mark.parametrize("key", ["x", "AAAA", b64encode(bytes(31)).decode(), ",", "ключ"])
def test_a_key_of_another_length_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="32 random bytes") as refusal:
        open_sealer(settings(voucher_key=key))
    assert len(key) < 3 or key not in str(refusal.value)


def test_embedded_mode_makes_a_key_of_its_own(tmp_path: Path) -> None:
    first = open_sealer(settings(data_dir=tmp_path))
    second = open_sealer(settings(data_dir=tmp_path))
    assert first is not None and second is not None
    assert second.open(first.seal("x", place=PLACE), place=PLACE) == "x"
    assert stat.S_IMODE((tmp_path / KEY_PATH).stat().st_mode) == 0o600
    (tmp_path / KEY_PATH).write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="holds no key"):
        open_sealer(settings(data_dir=tmp_path))


def test_a_server_of_ones_own_needs_the_setting() -> None:
    assert open_sealer(settings(database_url="postgresql://localhost/x")) is None


# Import


async def test_codes_become_stock_and_are_sealed(db: Database) -> None:
    reward = await make_reward(db, code="tea", **VOUCHER)

    report = await import_codes(db, "tea", ["AB-1", "AB-2", "AB-3"])

    assert (report.imported, report.known, report.malformed) == (3, [], [])
    assert report.summary == "3 codes imported, 0 known before, 0 malformed."
    assert await stock(db, reward) == 3
    everything = "".join("".join(rows) for rows in (await contents(db)).values())
    assert "AB-1" not in everything and b"AB-1".hex() not in everything
    [(key_ids, boxes)] = await rows(
        db, "select count(distinct key_id), count(distinct sealed) from voucher_codes"
    )
    assert (key_ids, boxes) == (1, 3)
    event = "select kind, stock_change from reward_events where reward_id = :id order by place"
    assert [tuple(it) for it in await rows(db, event, id=reward)] == [
        ("CREATED", 0),
        ("IMPORTED", 3),
    ]


async def test_a_code_comes_in_once(db: Database) -> None:
    first, second = [await make_reward(db, code=code, **VOUCHER) for code in ("tea", "cake")]
    await import_codes(db, "tea", ["AB-1", "AB-2"])

    again = await import_codes(db, "tea", ["AB-2", "AB-3", "AB-3"])
    elsewhere = await import_codes(db, "cake", ["AB-1", "C-1"])
    with_new_key = await import_codes(db, "tea", ["AB-3"], sealer=Sealer([NEW, bytes(range(32))]))

    assert (again.imported, again.known) == (1, [1, 3])
    assert again.summary == "1 codes imported, 2 known before (line 1, 3), 0 malformed."
    assert (elsewhere.imported, elsewhere.known) == (1, [1])
    assert (with_new_key.imported, with_new_key.known) == (0, [1])
    assert (await stock(db, first), await stock(db, second)) == (3, 1)


async def test_malformed_codes_are_named_by_their_line(db: Database) -> None:
    reward = await make_reward(db, code="tea", **VOUCHER)
    report = await import_codes(db, "tea", ["", "A\tB", "x" * 201, "x" * 200, "好 1"])
    assert (report.imported, report.malformed) == (2, [1, 2, 3])
    assert await stock(db, reward) == 2


async def test_several_imports_at_once_lose_and_double_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "BATCH", 20)
    rewards = [await make_reward(db, code=code, **VOUCHER) for code in ("tea", "cake")]
    given = [f"AB-{number}" for number in range(100)]

    reports = await asyncio.gather(
        *(import_codes(db, code, given) for code in ("tea", "cake", "tea", "cake"))
    )

    assert sum(report.imported for report in reports) == 100
    assert sum(len(report.known) for report in reports) == 300
    assert await one(db, "select count(*) from voucher_codes") == (100,)
    left = [await stock(db, reward) for reward in rewards]
    assert sum(it or 0 for it in left) == 100


async def test_only_vouchers_have_codes(db: Database) -> None:
    await make_reward(db, code="rope")
    for code in ("rope", "nothing"):
        with pytest.raises(codes.NoSuchReward, match=code):
            await import_codes(db, code, ["AB-1"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"AB-1\nAB-2\n", [(1, "AB-1"), (2, "AB-2")]),
        (b"\xef\xbb\xbfcode\r\nAB-1\r\n\r\nAB-2", [(2, "AB-1"), (4, "AB-2")]),
        (b"serial,Code\n1, AB-1 \n2,\n3\n", [(2, "AB-1"), (3, ""), (4, "")]),
        (b'"A,B"\n', [(1, "A,B")]),
        (b"", []),
    ],
)
def test_a_file_is_csv_with_or_without_a_header(
    tmp_path: Path, content: bytes, found: list[tuple[int, str]]
) -> None:
    path = tmp_path / "codes.csv"
    path.write_bytes(content)
    assert codes.read_codes(path) == found


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"open', None])
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "codes.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(codes.UnreadableFile, match="cannot be read"):
        codes.read_codes(path)


# What is given


async def test_a_code_sealed_with_the_old_key_is_still_shown(db: Database) -> None:
    member, reward = await make_shopper(db), await make_reward(db, **VOUCHER, voucher_codes=1)
    id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    me = context_of(db, member)
    me.sealer = Sealer([NEW, bytes(range(32))])
    assert (await show(me, id))["voucherCode"]


async def test_without_the_key_there_is_an_error_and_no_code(db: Database) -> None:
    member, reward = await make_shopper(db), await make_reward(db, **VOUCHER, voucher_codes=1)
    id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    for sealer in (None, Sealer([NEW])):
        me = context_of(db, member)
        me.sealer = sealer
        result = await schema.execute(SHOW, {"id": id}, context_value=me)
        assert result.errors and result.data is not None
        assert result.data["node"]["voucherCode"] is None


async def test_a_code_moved_to_another_redemption_does_not_open(db: Database) -> None:
    first, second = await make_shopper(db), await make_shopper(db)
    reward = await make_reward(db, **VOUCHER, voucher_codes=2)
    ids = [(await redeem(db, it, reward))["redemption"]["id"] for it in (first, second)]
    await fulfil_due(db)
    async with db.write() as connection:
        await connection.execute(
            text(
                """update redemptions set code_sealed = (select code_sealed from redemptions
                     where member_id = :other) where member_id = :member_id"""
            ),
            {"member_id": first, "other": second},
        )
    with pytest.raises(AssertionError, match="not what was sealed"):
        await show(context_of(db, first), ids[0])
    assert (await show(context_of(db, second), ids[1]))["voucherCode"]


async def test_a_missing_code_leaves_the_redemption_for_another_attempt(db: Database) -> None:
    member = await make_shopper(db)
    reward = await make_reward(db, code="tea", **VOUCHER, voucher_codes=1)
    await redeem(db, member, reward)
    async with db.write() as connection:
        await connection.execute(text("delete from voucher_codes"))
    with pytest.raises(fulfilment.NoCodeLeft):
        await fulfil_due(db)
    assert await states(db) == {"RESERVED": 1}

    await import_codes(db, "tea", ["NEW-1"])
    assert await fulfil_due(db, now=NOON + timedelta(minutes=1)) == 1
    assert await states(db) == {"FULFILLED": 1}


# The command


async def run(database_url: str, *arguments: str, **settings: str) -> tuple[int, str, str]:
    return await processes.command(
        "rewards", "import-codes", *arguments, WELLWARD_DATABASE_URL=database_url, **settings
    )


async def test_the_command_imports_and_reports_without_codes(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    secret = f"SECRET-{uuid4().hex}"
    path = tmp_path / "codes.csv"
    path.write_text(f"code\n{secret}\n{secret}\nOTHER-1\n")
    key = {"WELLWARD_VOUCHER_KEY": b64encode(bytes(range(32))).decode()}

    code, out, err = await run(database_url, "drug-store-voucher", str(path), **key)

    assert code == 0, err
    assert out == "2 codes imported, 1 known before (line 3), 0 malformed.\n"
    assert secret not in out + err
    member = await make_shopper(db, 400)
    [(reward,)] = await rows(db, "select id from rewards where code = 'drug-store-voucher'")
    id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    assert (await show(context_of(db, member), id))["voucherCode"] in (secret, "OTHER-1")

    path.write_text("code\nA\tB\n")
    code, out, _ = await run(database_url, "drug-store-voucher", str(path), **key)
    assert (code, out) == (1, "0 codes imported, 0 known before, 1 malformed (line 2).\n")


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        (("nothing", "codes.csv"), True, "There is no reward 'nothing'"),
        (("drug-store-voucher", "missing.csv"), True, "cannot be read"),
        (("drug-store-voucher", "codes.csv"), False, "Set WELLWARD_VOUCHER_KEY"),
    ],
)
async def test_the_command_says_what_is_wrong_in_a_sentence(
    database_url: str, tmp_path: Path, arguments: tuple[str, str], key: bool, said: str
) -> None:
    (tmp_path / "codes.csv").write_text("AB-1\n")
    reward, name = arguments
    keys = {"WELLWARD_VOUCHER_KEY": b64encode(OLD).decode()} if key else {}
    code, out, err = await run(database_url, reward, str(tmp_path / name), **keys)
    assert (code, out) == (1, "")
    assert said in err.replace("\n", " ") and "Traceback" not in err
