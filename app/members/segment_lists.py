"""Lists of members as employees import them: a CSV of one column."""

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.graphql.ids import Kind, parse
from app.texts import Text

ROWS_MAX = 20_000
CELL_MAX = 200
LINES_NAMED_MAX = 20
"""Of the lines at fault a message names so many."""
COLUMNS = ("id", "login", "phone")
"""What a list may name members by."""
_LINE_END = re.compile("\r\n|\n|\r")


class ListInvalid(UserError):
    def __init__(self, said: Text) -> None:
        super().__init__(ErrorCode.VALUE_OUT_OF_RANGE, said, field="csv")


def read(content: str) -> tuple[str, Mapping[int, str]]:
    """What the list names members by, and what stands on each line, the header being line 1.
    Empty lines are left out. Raises ListInvalid."""
    if "\0" in content:
        raise ListInvalid(Text(zh="不是文本。", en="This is no text."))
    header, *lines = _LINE_END.split(content.lstrip("\ufeff"))
    by = _cell(header).lower()
    if by not in COLUMNS:
        raise ListInvalid(
            Text(
                zh="首行须为 id、login 或 phone 之一，且只有一列。",
                en="The first line must be one of id, login, phone; there is one column.",
            )
        )
    named = {place: cell for place, it in enumerate(lines, start=2) if (cell := _cell(it))}
    if not 1 <= len(named) <= ROWS_MAX:
        raise ListInvalid(
            Text(
                zh=f"须有 1 至 {ROWS_MAX} 行，现有 {len(named)} 行。",
                en=f"There must be 1 to {ROWS_MAX} lines; these are {len(named)}.",
            )
        )
    for place, cell in named.items():
        said = _fault(cell)
        if said is not None:
            raise ListInvalid(Text(zh=f"第 {place} 行{said.zh}。", en=f"Line {place} {said.en}."))
    return by, named


def _fault(cell: str) -> Text | None:
    if '"' in cell:
        return Text(zh="引号不配对", en="has a quote that is not closed, or one too many")
    if re.search("[,;\t]", cell):
        return Text(zh="不止一列", en="has more than one column")
    if len(cell) > CELL_MAX:
        return Text(zh=f"超过 {CELL_MAX} 个字符", en=f"has more than {CELL_MAX} characters")
    return None


def named_nobody(lines: Sequence[int]) -> ListInvalid:
    """Lines that name no member, or two who share a number."""
    shown = ", ".join(map(str, lines[:LINES_NAMED_MAX]))
    more = len(lines) - LINES_NAMED_MAX
    zh, en = (f" 等 {len(lines)} 行", f" and {more} more") if more > 0 else (" 行", "")
    plural = "Line" if len(lines) == 1 else "Lines"
    return ListInvalid(
        Text(
            zh=f"第 {shown}{zh}找不到会员；未导入任何内容。",
            en=f"{plural} {shown}{en}: no member, or two; nothing was imported.",
        )
    )


def _cell(line: str) -> str:
    """What stands in the one column of a line, which may be quoted."""
    cell = line.strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        cell = cell[1:-1].replace('""', '"').strip()
    return cell


_BY_LOGIN = text("""
select s.login, s.member_id from member_sign_ins s join members m using (member_id)
where s.login = any(:named) and m.erased_at is null
""").bindparams(bindparam("named", type_=ARRAY(SqlText)))
_BY_PHONE = text("""
select phone, min(member_id::text)::uuid from members
where phone = any(:named) and phone_verified_at is not null and erased_at is null group by phone having count(*) = 1
""").bindparams(bindparam("named", type_=ARRAY(SqlText)))
_BY_ID = text(
    "select member_id from members where member_id = any(:named) and erased_at is null"
).bindparams(bindparam("named", type_=ARRAY(Uuid)))


async def look_up(session: AsyncSession, by: str, named: Sequence[str]) -> Mapping[str, UUID]:
    """A number that two members share names neither."""
    if by == "id":
        parsed = {it: id.owner_id for it in named if (id := parse(it)) and id.kind is Kind.MEMBER}
        rows = await session.execute(_BY_ID, {"named": list(parsed.values())})
        there = set(rows.scalars())
        return {it: member_id for it, member_id in parsed.items() if member_id in there}
    statement = _BY_LOGIN if by == "login" else _BY_PHONE
    rows = await session.execute(statement, {"named": list(named)})
    return {value: member_id for value, member_id in rows}
