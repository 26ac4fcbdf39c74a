"""FHIR R4: a Bundle, or one resource a line (NDJSON), of one person. Import only.

Observations, Conditions and the Patient are each validated by `fhir.resources` (its R4B models,
which these three share with R4) and mapped by LOINC and UCUM; all other resources are counted.
The file is read twice: first for whom it is about, then for what was measured.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient
from pydantic import ValidationError

from app import civil_time
from app.intake import terminology
from app.intake.numbers import YEARS, number_fault
from app.intake.report import Reason, Refused, Report
from app.intake.spool import Portion, Sample, Spool
from app.measurements.kinds import Method

SOURCE = "fhir"
DOCUMENT_MAX = 128 * 2**20
"""A Bundle is held in memory; what is larger comes as NDJSON."""

_FINAL = frozenset({"final", "amended", "corrected"})
_STATUSES = _FINAL | {
    "registered", "preliminary", "cancelled", "entered-in-error", "unknown",
}  # fmt: skip
_NOT_SO = frozenset({"refuted", "entered-in-error"})
_SEXES = {"female": "FEMALE", "male": "MALE"}

Progress = Callable[[int, int], None]


class Named(NamedTuple):
    """The member for whom the file is imported."""

    birth_date: date
    sex: str
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One Condition as it stands in the file."""

    icd10: str
    label: str | None
    onset_on: date | None
    abated_on: date | None
    where: str


class _Item(NamedTuple):
    where: str
    full_url: str | None
    resource: dict[str, Any]


def read(
    path: Path,
    spool: Spool,
    report: Report,
    *,
    member: Named,
    patient: str | None,
    progress: Progress,
) -> list[Diagnosis]:
    """Observations into the spool, and the conditions. `patient` chooses one of several, or
    names the subject of a file without a Patient. Raises Refused."""
    subject = _subject(path, member, patient)
    mapping = _Mapping(spool, report, member.zone, subject)
    total = path.stat().st_size
    for item, done in _items(path):
        mapping.take(item)
        progress(done, total)
    return mapping.diagnoses


# Whom it is about


def _subject(path: Path, member: Named, patient: str | None) -> frozenset[str]:
    """The references by which the resources name the member. Raises Refused."""
    found: dict[str, tuple[frozenset[str], Patient]] = {}
    for item, _ in _items(path):
        if item.resource.get("resourceType") != "Patient":
            continue
        try:
            one = Patient.model_validate(item.resource)
        except ValidationError as error:
            raise Refused(f"The Patient ({_place(item.where, error)}) is not valid.") from None
        names = {item.full_url, one.id, f"Patient/{one.id}", f"urn:uuid:{one.id}"}
        references = frozenset(name for name in names if name)
        found[one.id or item.where] = (references, one)
    if patient is not None:
        wanted = {patient, patient.removeprefix("Patient/")}
        chosen = [it for it in found.values() if wanted & it[0]]
        if not found:
            return frozenset(wanted | {f"Patient/{it}" for it in wanted})
    else:
        chosen = list(found.values())
    if not chosen:
        raise Refused(
            "The file has no Patient to compare with the member; --patient names the subject "
            "whose records are this member's."
            if patient is None
            else "The file has no such Patient."
        )
    if len(chosen) > 1:
        raise Refused(f"The file is about {len(chosen)} people; choose one with --patient.")
    [(references, one)] = chosen
    _match(one, member)
    return references


def _match(patient: Patient, member: Named) -> None:
    """Raises Refused when it is certainly somebody else."""
    born = patient.birthDate
    if born is not None and not member.birth_date.isoformat().startswith(str(born)[:10]):
        raise Refused("The Patient has another birth date than the member; nothing was imported.")
    sex = _SEXES.get(patient.gender or "")
    if sex is not None and member.sex in _SEXES.values() and sex != member.sex:
        raise Refused("The Patient has another sex than the member; nothing was imported.")
    if born is None:
        raise Refused("The Patient has no birth date to compare with the member's.")


# Reading


def _items(path: Path) -> Iterator[tuple[_Item, int]]:
    """Each resource, with the bytes read so far. Raises Refused."""
    number = 0
    for line, document, done in _documents(path):
        if not isinstance(document, dict):
            raise Refused(f"{_at(line)} holds no FHIR resource.")
        if document.get("resourceType") != "Bundle":
            number += 1
            yield _Item(f"line {line}" if line else "resource 1", None, document), done
            continue
        entries = document.get("entry") or []
        if not isinstance(entries, list):
            raise Refused(f"{_at(line)} holds a Bundle whose entries are no list.")
        for place, entry in enumerate(entries, start=1):
            number += 1
            where = f"line {line}, entry {place}" if line else f"entry {place}"
            whole = entry if isinstance(entry, dict) else {}
            resource, url = whole.get("resource"), whole.get("fullUrl")
            yield (
                _Item(
                    where,
                    url if isinstance(url, str) else None,
                    resource if isinstance(resource, dict) else {},
                ),
                done,
            )


def _documents(path: Path) -> Iterator[tuple[int, Any, int]]:
    """(line, JSON, bytes read): one a line, or the whole file as line 0. Raises Refused."""
    try:
        with path.open("rb") as file:
            first = file.readline(DOCUMENT_MAX + 1)
            is_lines = _is_whole(first) and file.read(1) != b""
            file.seek(0)
            if not is_lines:
                text = file.read(DOCUMENT_MAX + 1)
                yield 0, _json(text, 0), len(text)
                return
            done = 0
            for number, line in enumerate(iter(lambda: file.readline(DOCUMENT_MAX + 1), b""), 1):
                done += len(line)
                if line.strip():
                    yield number, _json(line, number), done
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}.") from error


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json(text: bytes, line: int) -> Any:
    if len(text) > DOCUMENT_MAX:
        raise Refused(
            f"{_at(line)} is larger than {DOCUMENT_MAX // 2**20} MB; send one resource a line."
        )
    try:
        return json.loads(text, parse_int=_integer, parse_float=_decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused(f"{_at(line)} is not JSON.") from None


def _integer(text: str) -> int | Decimal:
    """Python reads whole numbers of any length only as decimals."""
    return int(text) if len(text) < 20 else Decimal(text)


def _decimal(text: str) -> Decimal:
    """Infinity, which no model takes, where the exponent is beyond arithmetic."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _at(line: int) -> str:
    return f"Line {line}" if line else "The file"


def _place(where: str, error: ValidationError) -> str:
    """Where the first fault is; the path of the element, never its value."""
    path = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])[:80]
    return f"{where}, {path}" if path.isascii() and path.isprintable() else where


# What was measured


class _Mapping:
    def __init__(
        self, spool: Spool, report: Report, zone: ZoneInfo, subject: frozenset[str]
    ) -> None:
        self.diagnoses: list[Diagnosis] = []
        self._spool = spool
        self._report = report
        self._zone = zone
        self._subject = subject
        self._number = 0

    def take(self, item: _Item) -> None:
        self._report.read += 1
        self._number += 1
        kind = item.resource.get("resourceType")
        try:
            if kind == "Observation":
                self._observation(Observation.model_validate(item.resource), item.where)
            elif kind == "Condition":
                self._condition(Condition.model_validate(item.resource), item.where)
            elif kind != "Patient":
                self._report.ignore(kind if isinstance(kind, str) and len(kind) < 40 else "other")
        except ValidationError as error:
            self._report.reject(Reason.INVALID, _place(item.where, error))
        except RecursionError:
            self._report.reject(Reason.INVALID, item.where)

    def _observation(self, it: Observation, where: str) -> None:
        parts: list[tuple[Any, str]] = [(it, where)]
        parts += [
            (part, f"{where}, component {place}")
            for place, part in enumerate(it.component or [], 1)
        ]
        ours = [
            (code, part, place)
            for part, place in parts
            if (code := terminology.code_of(part.code)) is not None
        ]
        if not ours:
            self._report.ignore(f"Observation {terminology.shown(it.code)}")
            return
        fault = self._fault(it)
        when = None if fault is not None else self._when(it)
        if isinstance(when, Reason):
            fault, when = when, None
        for code, part, place in ours:
            found = fault or self._value(it, code, part, when)
            if found is not None:
                self._report.reject(found, place)

    def _fault(self, it: Observation) -> Reason | None:
        if it.status not in _STATUSES:
            return Reason.INVALID
        if it.status not in _FINAL:
            return Reason.NOT_FINAL
        if it.focus or it.subject is None or it.subject.reference not in self._subject:
            return Reason.OTHER_SUBJECT
        return None

    def _when(self, it: Observation) -> tuple[datetime, datetime] | Reason:
        """From when to when; one instant is both. A day without a time is noon of it."""
        period = it.effectivePeriod
        if period is not None:
            start, end = period.start or period.end, period.end or period.start
        else:
            start = end = it.effectiveDateTime or it.effectiveInstant
        if start is None or end is None or _is_far(start) or _is_far(end):
            return Reason.TIME_UNREADABLE
        found = self._instant(start), self._instant(end)
        if found[0] is None or found[1] is None:
            return Reason.TIME_VAGUE
        return (found[0], found[1]) if found[0] <= found[1] else Reason.PERIOD_INVALID

    def _instant(self, when: Any) -> datetime | None:
        if isinstance(when, datetime):
            return when if when.tzinfo is not None else None
        if isinstance(when, date):
            return civil_time.at_local_time(when, time(12), self._zone)
        return None

    def _value(
        self, it: Observation, code: str, part: Any, when: tuple[datetime, datetime] | None
    ) -> Reason | None:
        """Keep it, or say why not."""
        assert when is not None
        quantity = part.valueQuantity
        if part.dataAbsentReason is not None or (quantity is None and not _has_value(part)):
            # A panel's own value stands in its components.
            return None if part is it and it.component else Reason.VALUE_MISSING
        value = quantity.value if quantity is not None else part.valueInteger
        if value is None:
            return Reason.VALUE_UNREADABLE
        if quantity is not None and quantity.comparator is not None:
            return Reason.VALUE_INEXACT
        fault = number_fault(str(value))
        if fault is not None:
            return fault
        unit = terminology.unit_of(code, quantity)
        if unit is None:
            return Reason.UNIT_UNKNOWN
        start, end = (int(instant.timestamp() * 1000) for instant in when)
        method = self._method(it)
        if terminology.is_summed(code):
            if end - start > 24 * 3_600_000:
                return Reason.PERIOD_INVALID
            if start == end and not isinstance(it.effectiveDateTime, datetime):
                day = civil_time.local_date(when[0], self._zone)
                start = int(civil_time.start_of_day(day, self._zone).timestamp() * 1000)
                end = int(civil_time.end_of_day(day, self._zone).timestamp() * 1000)
            self._spool.add_portion(
                Portion(start, code, SOURCE, end, str(value), unit, method, self._number)
            )
        else:
            self._spool.add_sample(
                Sample(start, code, SOURCE, str(value), unit, method, None, self._number)
            )
        return None

    def _method(self, it: Observation) -> Method:
        """What only the person themselves vouches for is not clinical."""
        performers = [performer.reference for performer in it.performer or []]
        own = bool(performers) and all(reference in self._subject for reference in performers)
        return Method.SELF_REPORTED if own else Method.CLINICAL

    def _condition(self, it: Condition, where: str) -> None:
        if it.subject.reference not in self._subject:
            self._report.reject(Reason.OTHER_SUBJECT, where)
            return
        if _NOT_SO & terminology.codes(it.verificationStatus):
            self._report.reject(Reason.NOT_FINAL, where)
            return
        icd10 = terminology.icd10_of(it.code)
        if icd10 is None:
            self._report.ignore(f"Condition {terminology.shown(it.code)}")
            return
        began = it.onsetDateTime or (it.onsetPeriod and it.onsetPeriod.start)
        ended = it.abatementDateTime or (it.abatementPeriod and it.abatementPeriod.end)
        if _is_far(began) or _is_far(ended):
            self._report.reject(Reason.TIME_UNREADABLE, where)
            return
        onset, abated = self._day(began), self._day(ended)
        if onset is not None and abated is not None and abated < onset:
            self._report.reject(Reason.PERIOD_INVALID, where)
            return
        label = it.code.text if it.code is not None else None
        self.diagnoses.append(Diagnosis(icd10, label, onset, abated, where))

    def _day(self, when: Any) -> date | None:
        if isinstance(when, datetime):
            return when.astimezone(self._zone).date() if when.tzinfo else when.date()
        return when if isinstance(when, date) else None


def _is_far(when: Any) -> bool:
    """Of a year that nobody means, where the calendar ends."""
    return isinstance(when, date) and when.year not in YEARS


def _has_value(part: Any) -> bool:
    kinds: Mapping[str, Any] = part.model_dump(exclude_none=True)
    return any(name.startswith("value") for name in kinds)
