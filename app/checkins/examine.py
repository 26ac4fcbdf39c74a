"""What a check-in brings as evidence, whether that is enough, and what must be looked at."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from app import civil_time
from app.checkins import anomalies, evidence
from app.checkins.anomalies import Finding
from app.checkins.checks import checks
from app.checkins.evidence import Coarse, Fence, Position, Verdict
from app.checkins.look import Facts
from app.errors import ErrorCode, NotFound, UserError
from app.health_tasks import kinds, queries
from app.health_tasks.kinds import CheckInState, Verification
from app.health_tasks.templates import published
from app.members.rules import ConsentState
from app.texts import Text

_NEEDED = {
    Verification.DEVICE: Text(
        zh="这项任务由设备数据自动完成，无需打卡。",
        en="Readings of a device complete this task; there is nothing to tick.",
    ),
    Verification.FACE: Text(
        zh="这项任务需要人脸核验，目前尚未开通。",
        en="This task needs a face check, which is not switched on.",
    ),
    Verification.PHOTO: Text(
        zh="这项任务需要照片，仅打卡不够。", en="This task needs a photo; a tick is not enough."
    ),
    Verification.PLACE: Text(
        zh="这项任务需要位置，仅打卡不够。",
        en="This task needs the place where it was done; a tick is not enough.",
    ),
}
_NOT_THERE = Text(
    zh="你的位置不在这项任务的地点附近。", en="You were not near any of this task's places."
)
_TOO_COARSE = Text(
    zh="手机给出的位置不够精确，请到开阔处再试。",
    en="The phone does not know well enough where it is; try again under the open sky.",
)


class EvidenceMissing(UserError):
    def __init__(self, text: Text, *, field: str = "evidence") -> None:
        super().__init__(ErrorCode.EVIDENCE_MISSING, text, field=field)


class LocationConsentMissing(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONSENT_MISSING,
            Text(
                zh="请先在设置中同意使用位置信息。",
                en="This task needs your consent to the use of your location. Settings change it.",
            ),
            field="evidence.location",
        )


class LocationInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(zh="位置不是有效的经纬度。", en="This is no place on earth."),
            field="evidence.location",
        )


class Sent(NamedTuple):
    """What came with a check-in."""

    photo_key: str | None = None
    position: Position | None = None
    installation_id: UUID | None = None

    @property
    def photo_id(self) -> UUID | None:
        """None when there is no key, or one that is none of ours."""
        key = self.photo_key or ""
        try:
            found = UUID(hex=key)
        except ValueError:
            return None
        return found if found.hex == key else None


NOTHING_SENT = Sent()


class Examined(NamedTuple):
    findings: Sequence[Finding]
    photo_id: UUID | None
    """Of a photo that is the member's."""
    place: Coarse | None
    place_code: str | None
    missing: UserError | None
    """Why the evidence is not enough for a check-in inside its period."""
    photo_unknown: bool
    claims_device: bool
    """The installation becomes, or stays, that of whoever acts."""

    @property
    def has_evidence(self) -> bool:
        return self.photo_id is not None

    def check(self, *, overdue: bool) -> None:
        """Raises NotFound, EvidenceMissing, LocationConsentMissing, LocationInvalid."""
        if self.photo_unknown:
            raise NotFound(field="evidence.photoKey")
        if self.missing is not None and not overdue:
            raise self.missing


def examine(
    facts: Facts,
    sent: Sent,
    *,
    acted_by: UUID,
    day: date,
    occurred_at: datetime,
    value: Decimal | None,
    now: datetime,
) -> Examined:
    """Of a check-in of the local day `day`, before it is decided."""
    row = facts.row
    verification = kinds.verification(facts.assignment.verification)
    owner_since = now - timedelta(days=checks().devices.owner_days)
    is_foreign = row["device_owner"] is not None and row["device_owner"] != acted_by
    findings = anomalies.find(
        anomalies.Facts(
            new=anomalies.Done(occurred_at, _number(value)),
            unit=facts.assignment.unit,
            day_begins_at=civil_time.start_of_day(day, facts.standing.zone),
            of_day=[
                anomalies.Done(it.occurred_at, _number(it.value))
                for it in facts.check_ins
                if it.local_date == day and it.state != CheckInState.REJECTED
            ],
            before=row["lately"],
            device_of_another=is_foreign and row["device_seen_at"] > owner_since,
            photo_seen_before=row["photo_id"] is not None
            and (row["photo_seen_before"] or row["photo_used_by"] is not None),
        ),
        checks().thresholds,
    )
    place, place_code, missing = None, None, None
    if verification is Verification.PLACE:
        place, place_code, is_unsure, missing = _judge_place(facts, sent.position)
        if is_unsure:
            findings.append(Finding.PLACE_UNSURE)
    elif verification is Verification.STAFF:
        findings.append(Finding.STAFF)
    elif (verification is Verification.PHOTO and row["photo_id"] is None) or verification in (
        Verification.DEVICE,
        Verification.FACE,
    ):
        missing = EvidenceMissing(_NEEDED[verification])
    return Examined(
        findings=findings,
        photo_id=row["photo_id"],
        place=place,
        place_code=place_code,
        missing=missing,
        photo_unknown=sent.photo_key is not None and row["photo_id"] is None,
        claims_device=sent.installation_id is not None
        and _is_free(row, acted_by, owner_since, now),
    )


def _judge_place(
    facts: Facts, position: Position | None
) -> tuple[Coarse | None, str | None, bool, UserError | None]:
    """What is kept of the place, which one it is, whether that is unsure, what is wrong."""
    if position is None:
        return None, None, False, EvidenceMissing(_NEEDED[Verification.PLACE])
    if queries.consent_of(facts.row["location_consent"]) is not ConsentState.GRANTED:
        return None, None, False, LocationConsentMissing()
    if not position.is_possible:
        return None, None, False, LocationInvalid()
    verdict, code = evidence.judge(
        position,
        _fences(facts.row["template_code"], facts.row["template_version"]),
        accuracy_metres_max=checks().place.accuracy_metres_max,
    )
    if code is None:
        text = _TOO_COARSE if verdict is Verdict.TOO_COARSE else _NOT_THERE
        return None, None, False, EvidenceMissing(text, field="evidence.location")
    return evidence.coarsened(position), code, verdict is Verdict.UNSURE, None


def _fences(code: str, version: int) -> list[Fence]:
    """A version that is not in the data file any more has no place."""
    template = published().get((code, version))
    return [
        Fence(it.code, it.latitude, it.longitude, it.radius_metres)
        for it in (template.places if template else ())
    ]


def _is_free(row: Mapping[str, Any], acted_by: UUID, owner_since: datetime, now: datetime) -> bool:
    """Nobody's, or its owner has not been seen for long; its owner is noted down again when
    half of that time has passed."""
    owner, seen_at = row["device_owner"], row["device_seen_at"]
    if owner is None:
        return True
    if owner != acted_by:
        return bool(seen_at <= owner_since)
    return bool(seen_at <= now - (now - owner_since) / 2)


def _number(value: Decimal | None) -> Decimal:
    """A plain tick counts 1; what is no number is refused elsewhere."""
    return value if value is not None and value.is_finite() else Decimal(1)
