"""Apple Health's `export.xml`: hundreds of megabytes, read piece by piece into a spool.

A record of a quantity becomes a sample, or a portion of a day's total; what the catalogue does
not know (workouts, menstruation, audiograms) is counted and left out. The times in the file
carry the phone's offset. Children of a correlation stand in the file a second time.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from uuid import UUID
from xml.parsers import expat

from app.intake import opening
from app.intake.numbers import YEARS, number_fault
from app.intake.report import Reason, Refused, Report
from app.intake.spool import Portion, Sample, Spool
from app.measurements.catalogue import quantities
from app.measurements.kinds import Context, Method

ROOT = b"HealthData"
_HEAD_MAX = 1 * 2**20
_PIECE_MAX = 4 * 2**20
"""One tag; the longest in real exports are some kilobytes."""

_GLUCOSE = "HKQuantityTypeIdentifierBloodGlucose"
_SLEEP = "HKCategoryTypeIdentifierSleepAnalysis"
_MINDFUL = "HKCategoryTypeIdentifierMindfulSession"
_ASLEEP = frozenset(
    f"HKCategoryValueSleepAnalysisAsleep{stage}"
    for stage in ("", "Unspecified", "Core", "Deep", "REM")
)
_CODES: Mapping[str, str] = {
    it.healthkit: code
    for code, it in quantities().items()
    if it.healthkit and it.healthkit not in (_GLUCOSE, _SLEEP, _MINDFUL)
}
_SUMMED = frozenset(code for code, it in quantities().items() if it.is_daily_total)
# 1 = preprandial, which is not fasting; 2 = postprandial.
_MEALS: Mapping[str, tuple[str, Context]] = {
    "1": ("RANDOM_GLUCOSE", Context.BEFORE_MEAL),
    "2": ("POSTPRANDIAL_GLUCOSE", Context.AFTER_MEAL),
}
_UCUM = {
    "count/min": "/min",
    "mmHg": "mm[Hg]",
    "lb": "[lb_av]",
    "in": "[in_i]",
    "mi": "[mi_i]",
    "degC": "Cel",
    "degF": "[degF]",
    "Cal": "kcal",
    "mL/min·kg": "mL/min/kg",
    "hr": "h",
    # Per cent are written as fractions.
    "%": "1",
    "mL/(kg*min)": "mL/min/kg",
    "ml/(kg*min)": "mL/min/kg",
}
_ENTERED = "HKWasUserEntered"
_MEAL_KEYS = ("HKMetadataKeyBloodGlucoseMealTime", "HKBloodGlucoseMealTime")
_METADATA = frozenset({_ENTERED, *_MEAL_KEYS})
_COUNTED = frozenset({"count", "count/day"})
_IGNORED = frozenset(
    {"Workout", "ActivitySummary", "ClinicalRecord", "Audiogram", "VisionPrescription"}
)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
_HARDWARE = re.compile(r"hardware:([A-Za-z0-9,._-]{1,32}?)(?:, |>|$)")
_EPOCH = date(1970, 1, 1).toordinal()

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Person:
    """Whom the phone says it belongs to; None where it does not say."""

    birth_date: str | None = None
    sex: str | None = None


def read(path: Path, spool: Spool, report: Report, *, salt: UUID, progress: Progress) -> Person:
    """Everything that is ours to keep, into the spool. Raises Refused."""
    with opening.open_xml(path, ROOT) as (file, size):
        reader = _Reader(spool, report, salt)
        reader.read(file, lambda done: progress(done, size))
    return reader.person


class _Reader:
    def __init__(self, spool: Spool, report: Report, salt: UUID) -> None:
        self.person = Person()
        self._spool = spool
        self._report = report
        self._salt = salt
        self._depth = 0
        self._record: dict[str, str] | None = None
        self._metadata: dict[str, str] = {}
        self._line = 0
        self._in_correlation = False
        # Whatever the file says of its encoding: it decides what is looked for below.
        parser = self._parser = expat.ParserCreate("UTF-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype

    def read(self, file: IO[bytes], progress: Callable[[int], None]) -> None:
        """Raises Refused."""
        try:
            head = _without_document_type(file)
            self._parser.Parse(head, False)
            fed = done = len(head)
            while chunk := file.read(opening.CHUNK):
                self._parser.Parse(chunk, False)
                fed += len(chunk)
                if fed - self._parser.CurrentByteIndex > _PIECE_MAX:
                    raise Refused("The file holds a tag that is far longer than any export's.")
                done += len(chunk)
                progress(done)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            what = "it ends in the middle" if _is_truncated(error) else "it is not well-formed"
            raise Refused(f"The export is damaged at line {error.lineno}: {what}.") from None

    def _doctype(self, *_: Any) -> None:
        raise Refused("The file declares a document type or entities of its own: not an export.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name != ROOT.decode():
            raise Refused("This is no export of Apple Health: its root is not HealthData.")
        if name == "Record":
            self._record = attributes
            self._metadata.clear()
            self._line = self._parser.CurrentLineNumber
        elif name == "MetadataEntry":
            key = attributes.get("key", "")
            # A record may have any number of others.
            if self._record is not None and key in _METADATA:
                self._metadata[key] = attributes.get("value", "")
        elif name == "Correlation":
            self._in_correlation = True
        elif name in _IGNORED:
            self._report.read += 1
            self._report.ignore(name)
        elif name == "Me":
            self.person = _person(attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "Correlation":
            self._in_correlation = False
        if name != "Record" or self._record is None:
            return
        record, self._record = self._record, None
        if not self._in_correlation:
            self._report.read += 1
        fault = self._take(record)
        if fault is not None and not self._in_correlation:
            self._report.reject(fault, f"line {self._line}")

    def _take(self, record: Mapping[str, str]) -> Reason | None:
        """Why it cannot be kept; None when it is, or when it is none of ours."""
        kind = record.get("type", "")
        if kind in (_SLEEP, _MINDFUL):
            return self._take_period(kind, record)
        unit = record.get("unit", "")
        code, context = _code(kind, self._metadata)
        if code is None:
            if not self._in_correlation:
                self._report.ignore(_shown(kind))
            return None
        ucum = _ucum(code, unit)
        if ucum is None:
            return Reason.UNIT_UNKNOWN
        start = _instant(record.get("startDate", ""))
        if start is None:
            return Reason.TIME_UNREADABLE
        value = record.get("value", "")
        fault = number_fault(value)
        if fault is not None:
            return fault
        source = _source(self._salt, record.get("sourceName", ""), record.get("device", ""))
        if code not in _SUMMED:
            place = -self._line if self._in_correlation else self._line
            self._spool.add_sample(
                Sample(start, code, source, value, ucum, self._method(), context, place)
            )
            return None
        end = _instant(record.get("endDate", ""))
        if end is None:
            return Reason.TIME_UNREADABLE
        return self._add_portion(code, start, end, source, value, ucum)

    def _take_period(self, kind: str, record: Mapping[str, str]) -> Reason | None:
        """What counts by its length."""
        value = record.get("value", "")
        if kind == _SLEEP and value not in _ASLEEP:
            self._report.ignore("sleep: in bed or awake")
            return None
        start, end = _instant(record.get("startDate", "")), _instant(record.get("endDate", ""))
        if start is None or end is None:
            return Reason.TIME_UNREADABLE
        source = _source(self._salt, record.get("sourceName", ""), record.get("device", ""))
        code = "SLEEP_DURATION" if kind == _SLEEP else "MINDFUL_MINUTES"
        return self._add_portion(code, start, end, source, "", "")

    def _add_portion(
        self, code: str, start: int, end: int, source: str, value: str, unit: str
    ) -> Reason | None:
        if not 0 <= end - start <= 24 * 3_600_000:
            return Reason.PERIOD_INVALID
        # What the member typed is a source of its own, and trusted less.
        method = self._method()
        if method is Method.SELF_REPORTED:
            source += ":entered"
        if not self._in_correlation:
            self._spool.add_portion(
                Portion(start, code, source, end, value, unit, method, self._line)
            )
        return None

    def _method(self) -> Method:
        entered = self._metadata.get(_ENTERED) == "1"
        return Method.SELF_REPORTED if entered else Method.SENSED


def _without_document_type(file: IO[bytes]) -> bytes:
    """The beginning of the file. The document type that Apple writes into it is not always
    well-formed, so it is cut out; what could do harm in there is refused. Raises Refused."""
    head = file.read(_HEAD_MAX)
    start = head.find(b"<!DOCTYPE HealthData")
    if start < 0 or (0 <= head.find(b"<HealthData") < start):
        return head
    end = head.find(b"]>", start)
    found = head[start : end + 2]
    if end < 0 or b"<!ENTITY" in found or b"%" in found or b"SYSTEM" in found:
        raise Refused("The file declares a document type or entities of its own: not an export.")
    return head[:start] + b"\n" * found.count(b"\n") + head[end + 2 :]


def _is_truncated(error: expat.ExpatError) -> bool:
    ends = (expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN)
    return expat.ErrorString(error.code) in ends


def _code(kind: str, metadata: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The code and context of a kind of quantity; no code when it is none of ours."""
    if kind == _GLUCOSE:
        meal = next((metadata[key] for key in _MEAL_KEYS if key in metadata), "")
        return _MEALS.get(meal, ("RANDOM_GLUCOSE", None))
    return _CODES.get(kind), None


@lru_cache(maxsize=1024)
def _ucum(code: str, unit: str) -> str | None:
    """The unit that the catalogue knows by another name; None when it knows none of it."""
    quantity = quantities()[code]
    if unit in _COUNTED:
        return quantity.canonical.ucum if _is_counted(quantity.canonical.ucum) else None
    # `mmol<180.1558800000541>/L`: moles of something of that mass.
    ucum = _UCUM.get(unit, re.sub(r"^mmol<[0-9.]+>/L$", "mmol/L", unit))
    return ucum if quantity.unit(ucum) is not None else None


def _is_counted(ucum: str) -> bool:
    """Steps, flights, drinks; and the body mass index, which Apple takes for a number."""
    return ucum.startswith("{") or ucum == "kg/m2"


@lru_cache(maxsize=4096)
def _day(text: str) -> int | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return (day.toordinal() - _EPOCH) * 86_400 if day.year in YEARS else None


def _instant(text: str) -> int | None:
    """Milliseconds since 1970 of `2026-03-02 08:15:00 +0800`."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day_text, hours, minutes, seconds, sign, east_hours, east_minutes = found.groups()
    day = _day(day_text)
    if day is None or hours > "23" or minutes > "59" or seconds > "60":
        return None
    east = int(east_hours) * 3600 + int(east_minutes) * 60
    local = day + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return (local - east if sign == "+" else local + east) * 1000


@lru_cache(maxsize=4096)
def _source(salt: UUID, name: str, device: str) -> str:
    """What measured it: the hardware, and a digest of the name, since people name their devices
    after themselves. The same in every export of this member."""
    hardware = _HARDWARE.search(device)
    digest = hashlib.sha256(salt.bytes + name.encode()).hexdigest()[:10]
    return f"apple-health:{hardware[1] if hardware else 'app'}:{digest}"


def _shown(kind: str) -> str:
    return kind[:100] if kind.startswith("HK") else "other"


def _person(attributes: Mapping[str, str]) -> Person:
    sex = attributes.get("HKCharacteristicTypeIdentifierBiologicalSex", "")
    return Person(
        birth_date=attributes.get("HKCharacteristicTypeIdentifierDateOfBirth") or None,
        sex={"HKBiologicalSexFemale": "FEMALE", "HKBiologicalSexMale": "MALE"}.get(sex),
    )
