"""The results of annual examinations: CSV, one row a member, one column a quantity.

The header names quantities by code or by their Chinese or English name, with the unit behind it:
`空腹血糖(mmol/L)`, `WEIGHT [kg]`. A column `血压` holds both halves, as `132/84`. What is known
of a quantity's unit otherwise stands in a column of its own, `体重 单位` or `WEIGHT unit`.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app import civil_time
from app.intake import terminology
from app.intake.numbers import YEARS, number_fault
from app.intake.report import Reason, Refused
from app.measurements.catalogue import quantities

ROWS_MAX = 200_000
_CELL_MAX = 200
SOURCE = "examination"
ENCODINGS = ("utf-8-sig", "gb18030")
_MEMBER = frozenset({"member", "member_id", "memberid", "login", "会员", "会员号", "会员编号"})
_DATE = frozenset({"date", "examined_on", "examined_at", "体检日期", "检查日期", "日期"})
_PRESSURE = frozenset({"bp", "blood pressure", "血压"})
_UNIT_BEHIND = re.compile(r"^(.*?)\s*[\[(（【]\s*([^\])）】]*)\s*[\])）】]\s*$")
_UNIT_COLUMN = re.compile(r"^(.*?)[\s_]*(?:unit|单位)$", re.IGNORECASE)
_PAIR = re.compile(r"\s*(\d{2,3})\s*[/／]\s*(\d{2,3})\s*", re.ASCII)
_BLANK = frozenset({"", "-", "--", "/", "n/a", "na", "未查", "未检", "弃检", "拒检"})
# A dipstick's steps, as numbers.
_STEPS = {
    **dict.fromkeys(("阴性", "-", "(-)", "neg", "negative", "阴"), "0"),
    **dict.fromkeys(("±", "+-", "+/-", "trace", "微量", "弱阳性"), "0.5"),
    **dict.fromkeys(("+", "1+", "+1", "阳性", "(+)"), "1"),
    **dict.fromkeys(("++", "2+", "+2", "(++)"), "2"),
    **dict.fromkeys(("+++", "3+", "+3", "(+++)"), "3"),
    **dict.fromkeys(("++++", "4+", "+4", "(++++)"), "4"),
}
_DIPSTICK = "URINE_PROTEIN_DIPSTICK"


class Value(NamedTuple):
    code: str
    text: str
    unit: str
    column: str


class Fault(NamedTuple):
    reason: Reason
    where: str


@dataclass(slots=True)
class Row:
    """One member's examination, as it stands in the file."""

    number: int
    """Line of the file in which it begins; the header is line 1."""
    member: str
    examined: str
    values: list[Value] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class _Column(NamedTuple):
    place: int
    name: str
    code: str
    unit: str | None
    unit_place: int | None


@dataclass(frozen=True, slots=True)
class Header:
    member: int
    date: int | None
    columns: tuple[_Column, ...]
    pressure: tuple[int, str] | None
    ignored: tuple[str, ...]


def open_rows(path: Path) -> tuple[Header, Iterator[Row]]:
    """The header and the rows behind it. Raises Refused."""
    encoding = _encoding(path)
    file = path.open(encoding=encoding, newline="")
    reader = csv.reader(file, strict=True)
    try:
        header = _header(next(reader, []))
    except (csv.Error, Refused) as error:
        file.close()
        raise (
            error if isinstance(error, Refused) else Refused(f"{path.name} is not CSV.")
        ) from error

    def rows() -> Iterator[Row]:
        with file:
            start = reader.line_num + 1
            try:
                for number, cells in enumerate(reader):
                    if number >= ROWS_MAX:
                        raise Refused(f"The file has more than {ROWS_MAX} rows.")
                    if any(cell.strip() for cell in cells):
                        yield _row(start, cells, header)
                    start = reader.line_num + 1
            except csv.Error as error:
                raise Refused(f"{path.name} is not CSV from line {start}.") from error

    return header, rows()


def instant_of(text: str, zone: ZoneInfo) -> datetime | None:
    """Of a day, or a day and a time where the member is; a day is 08:00 of it, when blood is
    drawn. None when it is neither."""
    text = text.strip().replace("/", "-").replace(".", "-")
    text = text.replace("年", "-").replace("月", "-").replace("日", "")
    try:
        if len(text) <= 10:
            year, month, day = (int(part) for part in text.split("-"))
            found = datetime.combine(date(year, month, day), time(8))
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    if found.year not in YEARS:
        return None
    if found.tzinfo is not None:
        return found
    return civil_time.at_local_time(found.date(), found.time(), zone)


def _encoding(path: Path) -> str:
    """UTF-8 if all of the file is, GB18030 otherwise. Raises Refused."""
    try:
        for encoding in ENCODINGS:
            try:
                with path.open(encoding=encoding, newline="") as file:
                    while file.read(1 << 20):
                        pass
            except UnicodeDecodeError:
                continue
            return encoding
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}.") from error
    raise Refused(f"{path.name} is neither UTF-8 nor GB18030.")


@cache
def _names() -> Mapping[str, str]:
    """Code by code and by both names."""
    found = {}
    for code, quantity in quantities().items():
        if quantity.is_reading:
            for name in (code, quantity.name_zh, quantity.name_en):
                found[_plain(name)] = code
    return found | {"舒张压(mmhg)": "DIASTOLIC_BP", "低密度脂蛋白": "LDL", "高密度脂蛋白": "HDL"}


def _plain(name: str) -> str:
    return re.sub(r"\s+", " ", name.replace("（", "(").replace("）", ")")).strip().lower()


def _header(cells: list[str]) -> Header:
    """Raises Refused."""
    member = when = None
    pressure = None
    units: dict[str, int] = {}
    named: list[tuple[int, str, str, str | None]] = []
    ignored = []
    for place, cell in enumerate(cells):
        name = _plain(cell)
        if name in _MEMBER:
            member = place
        elif name in _DATE:
            when = place
        elif (quantity := _quantity(cell)) is not None:
            code, written = quantity
            if any(code == other for _, _, other, _ in named):
                raise Refused(f"The columns of the header name {code} more than once.")
            named.append((place, cell.strip(), code, _unit(code, written, cell)))
        elif (own := _UNIT_COLUMN.match(name)) is not None and own[1] in _names():
            units[_names()[own[1]]] = place
        elif _without_unit(name) in _PRESSURE:
            pressure = (place, cell.strip())
        else:
            ignored.append(cell.strip()[:40])
    if member is None:
        raise Refused("The header has no column `member` (会员): whose row is it?")
    columns = tuple(_Column(*it, units.get(it[2])) for it in named)
    if not columns and pressure is None:
        raise Refused("The header names no quantity of the catalogue.")
    return Header(member, when, columns, pressure, tuple(ignored))


def _quantity(cell: str) -> tuple[str, str | None] | None:
    """Its code, and the unit that stands behind the name."""
    code = _names().get(_plain(cell))
    if code is not None:
        return code, None
    found = _UNIT_BEHIND.match(cell.strip())
    code = _names().get(_plain(found[1])) if found is not None else None
    return (code, found[2]) if found is not None and code is not None else None


def _without_unit(name: str) -> str:
    found = _UNIT_BEHIND.match(name)
    return found[1] if found is not None else name


def _unit(code: str, written: str | None, cell: str) -> str | None:
    """Raises Refused: a column in a unit nobody knows would be wrong in every row."""
    if written is None:
        return None
    unit = terminology.ucum(code, written)
    if unit is None:
        known = ", ".join(it.ucum for it in quantities()[code].units)
        raise Refused(
            f"The column {cell.strip()!r} has a unit that {code} is not known in: {known}."
        )
    return unit


def _row(number: int, cells: list[str], header: Header) -> Row:
    def cell(place: int | None) -> str:
        found = cells[place].strip() if place is not None and place < len(cells) else ""
        return found if len(found) <= _CELL_MAX else found[: _CELL_MAX + 1]

    row = Row(number, cell(header.member), cell(header.date))
    for column in header.columns:
        _take(row, column, cell(column.place), cell(column.unit_place))
    if header.pressure is not None:
        place, name = header.pressure
        _take_pressure(row, name, cell(place))
    return row


def _take(row: Row, column: _Column, text: str, unit_text: str) -> None:
    where = f"row {row.number}, {column.name}"
    if column.code == _DIPSTICK:
        text = _STEPS.get(text.lower(), text)
    if text.lower() in _BLANK:
        return
    unit = column.unit or quantities()[column.code].canonical.ucum
    if unit_text:
        known = terminology.ucum(column.code, unit_text)
        if known is None:
            row.faults.append(Fault(Reason.UNIT_UNKNOWN, where))
            return
        unit = known
    text = text.replace("，", ",").rstrip("↑↓ *HL高低")
    if text[:1] in "<>≤≥＜＞":
        row.faults.append(Fault(Reason.VALUE_INEXACT, where))
        return
    fault = number_fault(text)
    if fault is None:
        row.values.append(Value(column.code, text, unit, column.name))
    else:
        row.faults.append(Fault(fault, where))


def _take_pressure(row: Row, name: str, text: str) -> None:
    if text.lower() in _BLANK:
        return
    found = _PAIR.fullmatch(text)
    if found is None:
        row.faults.append(Fault(Reason.VALUE_UNREADABLE, f"row {row.number}, {name}"))
        return
    for code, value in (("SYSTOLIC_BP", found[1]), ("DIASTOLIC_BP", found[2])):
        row.values.append(Value(code, value, "mm[Hg]", name))
