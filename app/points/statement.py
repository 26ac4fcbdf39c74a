"""Lines of a member's statement, as PostgreSQL gives them: in columns, each of them a text or an
array, because the driver takes five times as long to read a page of rows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app.db import Database
from app.graphql.ids import TAIL_SQL, tails
from app.graphql.scalars import instant_texts
from app.points import rules

SIGNS: Mapping[tuple[str, str], int] = {
    (str(debit), str(credit)): sign
    for sign in (1, -1)
    for debit, credit in rules.entry_routes(sign)
}
"""How an amount shows, by accounts; of all that are no entries nothing is shown."""


class Lines(NamedTuple):
    """Some lines; all columns have the same order."""

    seqs: list[int]
    ids: list[str]
    """The ends of their global ids."""
    what: list[str]
    """Kind, debit, credit, cause's kind and rule, with spaces between; the last two may be empty."""
    amounts: list[int]
    balances: list[int]
    posted_at: Sequence[Any]
    expires_on: list[str]
    """The last day on which they can be spent; empty where there is none."""
    cause_ids: list[str]
    """As `ids`; empty where there is none."""
    decisions: dict[int, str]
    """Of points that waited, or were made to wait: the account to which the newest transfer took
    them that corrects the line at this place, and was about that."""


_NOTHING = Lines([], [], [], [], [], [], [], [], {})
_SHOWN = ", ".join(f"'{debit} {credit}'" for debit, credit in sorted(SIGNS))


def _lines(source: str, *, member: str, which: str = "") -> str:
    """A row of the columns of `Lines`. What is true of few lines only, of all of them at once:
    decisions, and the days on which late points end, by the day on which they would have."""
    tail = f"string_agg(coalesce({TAIL_SQL}, '=='), '')"
    return f"""
select {which} seqs, tails, what, amounts, balances, posted_at, expires_on, causes,
  (select string_agg(array_position(ids, c.corrects) || ' ' || c.credit, ',' order by c.seq)
   from points_transfers c where c.member_id = {member} and c.corrects = any(ids)
   and (c.debit = 'pending' or c.credit = 'pending') and c.kind <> 'RESTATED'),
  (select string_agg(n.expires_on || ' ' || n.ends_on, ',' order by n.ends_on)
   from points_expiry_notices n where n.member_id = {member} and n.ends_on is not null
   and n.expires_on between first_day and last_day)
from (select {which} array_agg(seq) as seqs, array_agg(id) as ids,
    {tail.format("id")} as tails, {tail.format("cause_id")} as causes,
    string_agg(kind || ' ' || debit || ' ' || credit || ' ' || coalesce(cause_kind, '') || ' '
      || translate(coalesce(rule_code, ''), E'\\n', ' '), E'\\n') as what,
    array_agg(amount) as amounts, array_agg(balance_after) as balances,
    string_agg(posted_at::text, ',') as posted_at,
    string_agg(coalesce(expires_on::text, ''), ',') as expires_on,
    min(expires_on) as first_day, max(expires_on) as last_day
  from ({source}) t {f"group by {which.rstrip(',')}" if which else ""}) page
"""


_ENTRIES = f"select * from points_transfers where debit || ' ' || credit in ({_SHOWN})"
_PAGE = _lines(
    f"{_ENTRIES} and member_id = $1 and seq < $2 order by seq desc limit $3", member="$1"
)
_OF_KEYS = _lines(
    f"{_ENTRIES} and (member_id, id) in (select * from unnest($1::uuid[], $2::uuid[]))",
    member="page.member_id",
    which="member_id,",
)


async def page(db: Database, member_id: UUID, *, before: int, size: int) -> Lines:
    """The newest lines, at most `size`, whose `seq` is smaller than `before`."""
    [row] = await db.fetch(_PAGE, member_id, before, size)
    return _read(*row)


async def some(db: Database, keys: Sequence[tuple[UUID, UUID]]) -> Mapping[UUID, Lines]:
    """Those of (member, id), by member; what does not exist, or is no entry, is left out."""
    rows = await db.fetch(_OF_KEYS, *map(list, zip(*keys, strict=True)))
    return {row[0]: _read(*row[1:]) for row in rows}


def _read(
    seqs: list[int] | None,
    ids: str,
    what: str,
    amounts: list[int],
    balances: list[int],
    posted_at: str,
    expires_on: str,
    cause_ids: str,
    decisions: str | None,
    late: str | None,
) -> Lines:
    if seqs is None:
        return _NOTHING
    days = expires_on.split(",")
    if late is not None:
        ends = dict(it.split(" ") for it in late.split(","))
        days = [ends.get(day, day) for day in days]
    decided = (it.split(" ") for it in decisions.split(",")) if decisions is not None else ()
    return Lines(
        seqs,
        tails(ids),
        what.split("\n"),
        amounts,
        balances,
        instant_texts(posted_at),
        days,
        tails(cause_ids),
        {int(place) - 1: account for place, account in decided},
    )
