"""A rule set in shadow: how tiers would move, by segment, before it is released (RSK-6).

Everybody is judged by both rule sets from the same facts, now. Nothing about anybody is kept:
counts by segment only.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlmodel import col

from app.db import Database
from app.ids import new_id
from app.risk import everybody, facts, rules
from app.risk.facts import Facts
from app.risk.inputs import choose
from app.risk.rulesets import RuleSet, Tier
from app.risk.tables import RiskShadowRun

ALL = "all"
SMALL = 5
"""Groups of fewer members are not shown: they would tell who moved."""
_AGES = ((0, 34), (35, 44), (45, 54), (55, 64), (65, 130))
Move = tuple[Tier | None, Tier | None]
"""From the tier of one rule set to that of the other."""


@dataclass(frozen=True, slots=True)
class Moves:
    """How many members of a segment each rule set puts where."""

    segment: str
    counts: Mapping[Move, int]

    @property
    def members(self) -> int:
        return sum(self.counts.values())

    def share(self, *, worse: bool) -> float:
        """Of those with a tier in both, how many come into a higher (or lower) one; 0 to 1."""
        known = {it: n for it, n in self.counts.items() if None not in it}
        moved = sum(n for (old, new), n in known.items() if _is_moved(old, new, worse=worse))
        return moved / total if (total := sum(known.values())) else 0.0

    def mix(self, *, after: bool) -> Mapping[Tier, float]:
        """Share of each tier among those with one; 0 to 1."""
        found: Counter[Tier] = Counter()
        for move, n in self.counts.items():
            tier = move[1] if after else move[0]
            if tier is not None:
                found[tier] += n
        total = sum(found.values())
        return {tier: found[tier] / total if total else 0.0 for tier in Tier}


def _is_moved(old: Tier | None, new: Tier | None, *, worse: bool) -> bool:
    if old is None or new is None:
        return False
    return new.rank > old.rank if worse else new.rank < old.rank


def segments_of(it: Facts) -> Iterator[str]:
    """In which a member is counted."""
    yield ALL
    yield f"sex:{it.sex.value}"
    yield next(f"age:{low}-{high}" for low, high in _AGES if low <= it.age <= high)
    if it.region is not None:
        yield f"region:{it.region}"


def moves_of(people: Iterable[Facts], old: RuleSet, new: RuleSet) -> Mapping[str, Counter[Move]]:
    """By segment."""
    found: dict[str, Counter[Move]] = defaultdict(Counter)
    for it in people:
        move = tuple(rules.judge(choose(it, rule_set), rule_set).tier for rule_set in (old, new))
        for segment in segments_of(it):
            found[segment][move] += 1  # type: ignore[index]
    return found


async def run(
    db: Database, *, candidate: RuleSet, against: RuleSet, now: datetime
) -> AsyncIterator[tuple[int, int, list[Moves]]]:
    """(done, total, moves so far) after each batch; the report is kept with the last."""
    found: dict[str, Counter[Move]] = defaultdict(Counter)
    total, done = await everybody.count(db), 0
    async for member_ids in everybody.batches(db):
        async with db.read() as connection:
            known = await facts.load(connection, member_ids, [against, candidate], now=now)
        consenting = [it for it in known.values() if it.consented]
        for segment, counts in moves_of(consenting, against, candidate).items():
            found[segment] += counts
        done += len(member_ids)
        yield done, total, _listed(found)
    await _keep(db, candidate, against, found, now)


def _listed(found: Mapping[str, Counter[Move]]) -> list[Moves]:
    every = [Moves(segment, dict(found[segment])) for segment in sorted(found, key=_order)]
    return [it for it in every if it.members >= SMALL]


def _order(segment: str) -> tuple[bool, str]:
    return segment != ALL, segment


async def _keep(
    db: Database,
    candidate: RuleSet,
    against: RuleSet,
    found: Mapping[str, Counter[Move]],
    now: datetime,
) -> None:
    moves = {
        segment: {f"{old or '-'}>{new or '-'}": n for (old, new), n in counts.items()}
        for segment, counts in found.items()
    }
    async with db.transaction() as session:
        session.add(
            RiskShadowRun(
                id=new_id(now),
                rules_version=candidate.version,
                against_version=against.version,
                run_at=now,
                members=sum(found[ALL].values()) if ALL in found else 0,
                moves=moves,
            )
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """A report that was kept."""

    id: UUID
    rules_version: str
    against_version: str
    run_at: datetime
    members: int
    moves: list[Moves]


async def kept(db: Database, *, limit: int) -> list[Kept]:
    """The newest first."""
    statement = select(RiskShadowRun).order_by(
        col(RiskShadowRun.run_at).desc(), col(RiskShadowRun.id).desc()
    )
    async with db.read() as connection:
        rows = (await connection.execute(statement.limit(limit))).all()
    return [
        Kept(
            row.id, row.rules_version, row.against_version, row.run_at, row.members,
            _listed({segment: _counts(stored) for segment, stored in row.moves.items()}),
        )
        for row in rows
    ]  # fmt: skip


def _counts(stored: Mapping[str, int]) -> Counter[Move]:
    found: Counter[Move] = Counter()
    for name, n in stored.items():
        old, new = (Tier(it) if it != "-" else None for it in name.split(">"))
        found[old, new] = n
    return found
