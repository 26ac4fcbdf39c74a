"""The one exception family a member may see. Everything else is a bug and is masked."""

from enum import StrEnum

from app.texts import Text


class ErrorCode(StrEnum):
    """Codes of `UserError`; the list only grows."""

    REQUEST_REUSED = "REQUEST_REUSED"
    NOT_FOUND = "NOT_FOUND"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    CONSENT_MISSING = "CONSENT_MISSING"
    VALUE_OUT_OF_RANGE = "VALUE_OUT_OF_RANGE"
    UNIT_UNKNOWN = "UNIT_UNKNOWN"
    IN_FUTURE = "IN_FUTURE"
    TOO_OLD = "TOO_OLD"
    PERIOD_INVALID = "PERIOD_INVALID"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    LIMIT_REACHED = "LIMIT_REACHED"
    VERSION_OUTDATED = "VERSION_OUTDATED"
    TASK_NOT_DUE = "TASK_NOT_DUE"
    EVIDENCE_MISSING = "EVIDENCE_MISSING"
    ANSWER_INVALID = "ANSWER_INVALID"
    INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    ALREADY_PAUSED = "ALREADY_PAUSED"
    RECURRENCE_INVALID = "RECURRENCE_INVALID"
    NEVER_FIRES = "NEVER_FIRES"
    TIME_ZONE_UNKNOWN = "TIME_ZONE_UNKNOWN"
    LOCALE_UNKNOWN = "LOCALE_UNKNOWN"
    ALREADY_DECIDED = "ALREADY_DECIDED"
    SECOND_PERSON_NEEDED = "SECOND_PERSON_NEEDED"
    STATE_INVALID = "STATE_INVALID"
    FILTER_INVALID = "FILTER_INVALID"
    VARIANTS_INVALID = "VARIANTS_INVALID"
    CODE_INVALID = "CODE_INVALID"
    CONTEXT_INVALID = "CONTEXT_INVALID"


class UserError(Exception):
    """An expected refusal: nothing was changed. Raising it rolls the transaction back.

    `text` names the value at fault and what is allowed, never a health fact; `field` is
    the path of the input at fault, as `answers.2.values`.
    """

    def __init__(self, code: ErrorCode, text: Text, *, field: str | None = None) -> None:
        super().__init__(text.en)
        self.code = code
        self.text = text
        self.field = field


class NotFound(UserError):
    """It does not exist, or it is not yours; the two look the same."""

    def __init__(self, *, field: str) -> None:
        text = Text(zh="没有找到，或不属于你。", en="There is no such thing, or it is not yours.")
        super().__init__(ErrorCode.NOT_FOUND, text, field=field)


class RequestReused(UserError):
    def __init__(self) -> None:
        text = Text(
            zh="这个 requestId 已用于另一个请求，请换一个新的。",
            en="This requestId was already used with another input; make a new one.",
        )
        super().__init__(ErrorCode.REQUEST_REUSED, text, field="requestId")


class RequestFailed(Exception):
    """A top-level GraphQL error that a client may see, with `extensions.code`."""

    code = "BAD_REQUEST"


class Unauthenticated(RequestFailed):
    """Nobody is signed in, or nobody that we know."""

    code = "UNAUTHENTICATED"

    def __init__(self, message: str = "Sign in to see this.") -> None:
        super().__init__(message)


class Forbidden(RequestFailed):
    code = "FORBIDDEN"

    def __init__(self, message: str = "Your role does not allow this.") -> None:
        super().__init__(message)


class Busy(RequestFailed):
    """No place came free in time: no connection, or no turn of a large request; nothing was done."""

    code = "BUSY"

    def __init__(self) -> None:
        super().__init__("The server is busy; nothing was done, try again.")


class Explained(Exception):
    """A failure of a command whose text tells the operator what to do; any other is a bug."""


class ConfigurationError(Explained):
    """A setting forbids a start. The text is one sentence for the operator, without secrets."""
