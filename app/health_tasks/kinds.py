"""What tasks are there, how they are verified, and the states of tasks and check-ins."""

from enum import StrEnum


class TaskKind(StrEnum):
    TIMES_IN_PERIOD = "TIMES_IN_PERIOD"
    DAYS_IN_A_ROW = "DAYS_IN_A_ROW"
    REACH_TOTAL = "REACH_TOTAL"
    MEASURE_REGULARLY = "MEASURE_REGULARLY"
    ABSTAIN = "ABSTAIN"
    """Confirmed by check-ins; done only when the period is over."""
    ATTEND = "ATTEND"
    ONE_OFF = "ONE_OFF"
    TAKE_MEDICATION = "TAKE_MEDICATION"
    READ = "READ"


class TaskState(StrEnum):
    """The five kinds of no data are kept apart."""

    OPEN = "OPEN"
    IN_REVIEW = "IN_REVIEW"
    DONE = "DONE"
    MISSED = "MISSED"
    PAUSED = "PAUSED"
    DEVICE_SILENT = "DEVICE_SILENT"
    CONSENT_REFUSED = "CONSENT_REFUSED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"


class Verification(StrEnum):
    """What a check-in needs besides the tick."""

    NONE = "NONE"
    DEVICE = "DEVICE"
    """Completed by readings alone; the app shows no tick."""
    PHOTO = "PHOTO"
    PLACE = "PLACE"
    FACE = "FACE"
    STAFF = "STAFF"


class CheckInState(StrEnum):
    ACCEPTED = "ACCEPTED"
    IN_REVIEW = "IN_REVIEW"
    """Its points are pending until somebody decides."""
    REJECTED = "REJECTED"


# By value, as columns hold them: to call the enum takes ten times as long.
task_kind = {it.value: it for it in TaskKind}.__getitem__
task_state = {it.value: it for it in TaskState}.__getitem__
verification = {it.value: it for it in Verification}.__getitem__
