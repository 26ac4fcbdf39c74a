"""What underwriting says about an application: wait, accept, ask a person, or decline. No I/O."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from app.premiums.contract_terms import Underwriting
from app.premiums.rules import add_months
from app.risk.rulesets import Tier


class WaitsFor(StrEnum):
    """What an application waits for."""

    DECLARATIONS = "DECLARATIONS"
    ASSESSMENT = "ASSESSMENT"
    RECHECK = "RECHECK"
    """Blood pressure and glucose are to be measured again (RSK-8)."""
    EXAMINATION_REPORT = "EXAMINATION_REPORT"


class Finding(StrEnum):
    """Why the terms of the product do not accept by themselves."""

    CONDITION_DECLINED = "CONDITION_DECLINED"
    CONDITION_UNKNOWN = "CONDITION_UNKNOWN"
    """The product says nothing about a condition."""
    NOT_CONFIRMED = "NOT_CONFIRMED"
    """A declaration was not confirmed."""
    TIER = "TIER"
    NOT_ASSESSED = "NOT_ASSESSED"
    """The product asks about the risk, and the applicant does not consent to that."""


class Verdict(StrEnum):
    WAIT = "WAIT"
    ACCEPT = "ACCEPT"
    REFER = "REFER"
    DECLINE = "DECLINE"


@dataclass(frozen=True, slots=True)
class Known:
    """All that underwriting looks at."""

    today: date
    declared: bool
    """Whether the applicant has answered the declarations."""
    confirmed: Mapping[str, bool]
    """By code of the declaration."""
    conditions: Collection[str]
    """ICD-10: declared, and in the member's record while they consent."""
    consented: bool
    """To the use of health data; without it nothing is assessed, and nothing waits for it."""
    assessed: bool
    """Since the application."""
    tier: Tier | None
    to_measure: bool
    """Blood pressure or glucose is to be measured, or was not lately."""
    examined_on: date | None
    """Day of the newest examination report."""


@dataclass(frozen=True, slots=True)
class Judged:
    verdict: Verdict
    waits_for: tuple[WaitsFor, ...] = ()
    findings: tuple[Finding, ...] = ()


def judge(known: Known, terms: Underwriting | None) -> Judged:
    """A declined condition declines at once. Otherwise what is missing is waited for, so that
    a person who is asked has everything; then whatever is not plainly accepted is referred."""
    if terms is None:
        return Judged(Verdict.ACCEPT)
    said = [_about(code, terms) for code in known.conditions]
    if False in said:
        return Judged(Verdict.DECLINE, findings=(Finding.CONDITION_DECLINED,))
    missing = _missing(known, terms)
    if missing:
        return Judged(Verdict.WAIT, waits_for=missing)
    findings = []
    if None in said:
        findings.append(Finding.CONDITION_UNKNOWN)
    if not all(known.confirmed.get(it.code, False) for it in terms.declarations):
        findings.append(Finding.NOT_CONFIRMED)
    if known.tier in terms.referred.tiers:
        findings.append(Finding.TIER)
    if not known.consented and (terms.recheck is not None or terms.referred.tiers):
        findings.append(Finding.NOT_ASSESSED)
    if findings:
        return Judged(Verdict.REFER, findings=tuple(findings))
    return Judged(Verdict.ACCEPT)


def may_be_accepted(known: Known, terms: Underwriting | None) -> bool:
    """By a person: of who is of high risk not before the re-check is done (RSK-8)."""
    return terms is None or not _must_be_measured(known, terms)


def asks(terms: Underwriting) -> bool:
    """Whether the product asks an applicant anything."""
    return bool(terms.declarations or terms.accepted or terms.declined)


def _missing(known: Known, terms: Underwriting) -> tuple[WaitsFor, ...]:
    missing = []
    if asks(terms) and not known.declared:
        missing.append(WaitsFor.DECLARATIONS)
    if known.consented and not known.assessed:
        missing.append(WaitsFor.ASSESSMENT)
    if _must_be_measured(known, terms):
        missing.append(WaitsFor.RECHECK)
    months = terms.examination_report_months
    if months is not None and (
        known.examined_on is None or known.examined_on < add_months(known.today, -months)
    ):
        missing.append(WaitsFor.EXAMINATION_REPORT)
    return tuple(missing)


def _must_be_measured(known: Known, terms: Underwriting) -> bool:
    return terms.recheck is not None and known.tier in terms.recheck.tiers and known.to_measure


def _about(icd10: str, terms: Underwriting) -> bool | None:
    """Accepted, declined (False), or nothing said. A code holds its parts, as I10 holds I10.9;
    the most exact one counts."""
    listed = {**dict.fromkeys(terms.accepted, True), **dict.fromkeys(terms.declined, False)}
    holding = [code for code in listed if icd10 == code or icd10.startswith(f"{code}.")]
    holding += [code for code in listed if "." in code and icd10.startswith(code)]
    return listed[max(holding, key=len)] if holding else None
