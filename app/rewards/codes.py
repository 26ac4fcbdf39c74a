"""Voucher codes: imported sealed, each given to one redemption, opened for its owner only."""

import csv
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.sealing import Sealed, Sealer
from app.db import Database
from app.errors import ConfigurationError
from app.ids import new_id
from app.rewards import catalogue, rules
from app.rewards.models import Redemption, Reward
from app.rewards.rules import Fulfilment, RewardEventKind

BATCH = 1000
LINES_SHOWN = 20


class Given(NamedTuple):
    code_id: UUID
    key_id: str
    sealed: bytes


def place(code_id: UUID) -> bytes:
    """Where a code is sealed: it opens under its own id only."""
    return b"voucher code " + code_id.bytes


_TAKE = text(
    """update voucher_codes set member_id = :member_id, redemption_id = :id, given_at = :now
        where fingerprint = (
          select fingerprint from voucher_codes
           where reward_id = :reward_id and redemption_id is null
           order by id limit 1 for update skip locked)
        returning id, key_id, sealed"""
)


async def take(session: AsyncSession, redemption: Redemption, *, now: datetime) -> Given | None:
    """The code that this redemption gets, the oldest import's first; None when none is left.
    The redemption is locked."""
    connection = await session.connection()
    row = (
        await connection.execute(
            _TAKE,
            {
                "member_id": redemption.member_id,
                "id": redemption.id,
                "now": now,
                "reward_id": redemption.reward_id,
            },
        )
    ).one_or_none()
    return Given(*row) if row is not None else None


def reveal(sealer: Sealer, given: Given) -> str:
    """Raises SealBroken."""
    return sealer.open(Sealed(given.key_id, given.sealed), place=place(given.code_id))


# Import


@dataclass(slots=True)
class Report:
    """Never holds a code: lines are named by their number."""

    lines: int
    done: int = 0
    imported: int = 0
    known: list[int] = field(default_factory=list)
    """Lines whose code had come in before, here or for another reward."""
    malformed: list[int] = field(default_factory=list)

    @property
    def summary(self) -> str:
        known = _lines(f"{len(self.known)} known before", self.known)
        malformed = _lines(f"{len(self.malformed)} malformed", self.malformed)
        return f"{self.imported} codes imported, {known}, {malformed}."


def _lines(label: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:LINES_SHOWN])
    more = ", ..." if len(numbers) > LINES_SHOWN else ""
    return f"{label} (line {shown}{more})" if numbers else label


class NoSuchReward(ConfigurationError):
    def __init__(self, code: str) -> None:
        super().__init__(f"There is no reward {code!r} that is fulfilled by VOUCHER_CODE.")


class UnreadableFile(ConfigurationError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}.")


def read_codes(path: Path) -> list[tuple[int, str]]:
    """Line numbers and codes of a CSV file in UTF-8: the column `code`, or the first one of a
    file without a header. Blank lines are left out. Raises UnreadableFile."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_codes(csv.reader(file, strict=True)))
    except OSError as error:
        raise UnreadableFile(path, error.strerror or "it is not there") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(path, "it is not UTF-8") from error
    except csv.Error as error:
        raise UnreadableFile(path, "it is not CSV") from error


def _codes(reader: "Iterator[list[str]]") -> Iterator[tuple[int, str]]:
    column = 0
    for number, row in enumerate(reader, start=1):
        cells = [cell.strip() for cell in row]
        if number == 1 and "code" in (header := [cell.lower() for cell in cells]):
            column = header.index("code")
        elif any(cells):
            yield number, cells[column] if column < len(cells) else ""


async def import_codes(
    db: Database,
    sealer: Sealer,
    *,
    reward_code: str,
    codes: Sequence[tuple[int, str]],
    now: datetime,
) -> AsyncIterator[Report]:
    """Add codes, and as many to the reward's stock; how it stands after each batch, which
    commits by itself. To be run again after an interruption: what is there is left alone.

    Raises NoSuchReward.
    """
    reward_id = await _voucher_reward(db, reward_code)
    report = Report(lines=len(codes))
    for start in range(0, len(codes), BATCH):
        batch = codes[start : start + BATCH]
        async with db.transaction() as session:
            await _import_batch(session, sealer, reward_id, batch, report, now)
        report.done += len(batch)
        yield report


async def _voucher_reward(db: Database, code: str) -> UUID:
    async with db.transaction() as session:
        reward = (await session.exec(select(Reward).where(Reward.code == code))).one_or_none()
        if reward is None:
            raise NoSuchReward(code)
        terms = await catalogue.terms_of(session, reward.id, reward.version)
    if terms.fulfilment is not Fulfilment.VOUCHER_CODE:
        raise NoSuchReward(code)
    return reward.id


# A code may be known under an older key, by another fingerprint of it.
_IMPORT = text(
    """insert into voucher_codes (fingerprint, id, reward_id, key_id, sealed, imported_at)
       select new.fingerprint, new.id, :reward_id, new.key_id, new.sealed, :now
         from unnest(cast(:fingerprints as bytea[]), cast(:ids as uuid[]),
                     cast(:key_ids as text[]), cast(:boxes as bytea[]))
           as new (fingerprint, id, key_id, sealed)
       on conflict do nothing returning id"""
)
_KNOWN = text(
    "select fingerprint from voucher_codes where fingerprint = any(cast(:fingerprints as bytea[]))"
)


async def _import_batch(
    session: AsyncSession,
    sealer: Sealer,
    reward_id: UUID,
    batch: Sequence[tuple[int, str]],
    report: Report,
    now: datetime,
) -> None:
    reward = await catalogue.lock(session, reward_id)
    assert reward is not None and reward.stock is not None
    connection = await session.connection()
    prints = {number: sealer.fingerprints(code) for number, code in batch}
    every = [it for of_code in prints.values() for it in of_code]
    known = set((await connection.execute(_KNOWN, {"fingerprints": every})).scalars())
    new: dict[UUID, tuple[int, bytes, Sealed]] = {}
    for number, code in batch:
        if not rules.is_voucher_code(code):
            report.malformed.append(number)
        elif known.intersection(prints[number]):
            report.known.append(number)
        else:
            known.update(prints[number])
            id = new_id(now)
            new[id] = (number, prints[number][0], sealer.seal(code, place=place(id)))
    if not new:
        return
    parameters = {
        "reward_id": reward_id,
        "now": now,
        "fingerprints": [fingerprint for _, fingerprint, _ in new.values()],
        "ids": list(new),
        "key_ids": [sealed.key_id for _, _, sealed in new.values()],
        "boxes": [sealed.box for _, _, sealed in new.values()],
    }
    imported = set((await connection.execute(_IMPORT, parameters)).scalars())
    # Two imports at once, for two rewards: the code is the other one's.
    report.known += [number for id, (number, _, _) in new.items() if id not in imported]
    report.imported += len(imported)
    if imported:
        catalogue.restock(
            session, reward, len(imported), RewardEventKind.IMPORTED, staff_id=None, now=now
        )
