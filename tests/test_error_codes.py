"""Every error that the documents of FCM, JPush, SMTP and our SMS port know, and what becomes of
the push, SMS or e-mail: nothing else forgets a token, nothing that may have arrived is sent again.
"""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from app.adapters import fcm, jpush, sms, smtp_attempt
from app.adapters.push import PushOutcome, PushResult
from tests.factories import NOON

SENT, GONE, REJECTED = PushOutcome.SENT, PushOutcome.TOKEN_GONE, PushOutcome.REJECTED
RETRY, SET_UP, UNKNOWN = PushOutcome.RETRY, PushOutcome.UNAUTHORISED, PushOutcome.UNKNOWN

# https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode: code, HTTP status, the
# google.rpc.Code that comes with it.
FCM = [
    ("UNSPECIFIED_ERROR", 400, "INVALID_ARGUMENT", REJECTED, "INVALID_ARGUMENT"),
    ("UNSPECIFIED_ERROR", 500, "UNKNOWN", UNKNOWN, "HTTP_500"),
    ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT", REJECTED, "INVALID_ARGUMENT"),
    ("UNREGISTERED", 404, "NOT_FOUND", GONE, "UNREGISTERED"),
    ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED", REJECTED, "SENDER_ID_MISMATCH"),
    ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED", RETRY, "QUOTA_EXCEEDED"),
    ("UNAVAILABLE", 503, "UNAVAILABLE", RETRY, "UNAVAILABLE"),
    ("INTERNAL", 500, "INTERNAL", RETRY, "INTERNAL"),
    ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED", SET_UP, "THIRD_PARTY_AUTH_ERROR"),
    # Of an older document, and of none yet.
    ("APNS_AUTH_ERROR", 401, "UNAUTHENTICATED", SET_UP, "APNS_AUTH_ERROR"),
    ("SOMETHING_NEW", 503, "UNAVAILABLE", RETRY, "UNAVAILABLE"),
    ("SOMETHING_NEW", 500, "DATA_LOSS", UNKNOWN, "HTTP_500"),
]
# https://cloud.google.com/apis/design/errors: all codes of google.rpc.Code but OK.
RPC = [
    ("CANCELLED", 499, REJECTED, "HTTP_499"),
    ("UNKNOWN", 500, UNKNOWN, "HTTP_500"),
    ("INVALID_ARGUMENT", 400, REJECTED, "INVALID_ARGUMENT"),
    ("DEADLINE_EXCEEDED", 504, UNKNOWN, "HTTP_504"),
    ("NOT_FOUND", 404, SET_UP, "NOT_FOUND"),
    ("ALREADY_EXISTS", 409, REJECTED, "HTTP_409"),
    ("PERMISSION_DENIED", 403, SET_UP, "PERMISSION_DENIED"),
    ("UNAUTHENTICATED", 401, SET_UP, "UNAUTHENTICATED"),
    ("RESOURCE_EXHAUSTED", 429, RETRY, "RESOURCE_EXHAUSTED"),
    ("FAILED_PRECONDITION", 400, REJECTED, "FAILED_PRECONDITION"),
    ("ABORTED", 409, REJECTED, "HTTP_409"),
    ("OUT_OF_RANGE", 400, REJECTED, "OUT_OF_RANGE"),
    ("UNIMPLEMENTED", 501, UNKNOWN, "HTTP_501"),
    ("INTERNAL", 500, RETRY, "INTERNAL"),
    ("UNAVAILABLE", 503, RETRY, "UNAVAILABLE"),
    ("DATA_LOSS", 500, UNKNOWN, "HTTP_500"),
]
# Without a word of the service: a gateway's answer, or a wrong address.
HTTP = {
    200: UNKNOWN, 204: UNKNOWN, 301: SET_UP, 302: SET_UP, 307: SET_UP, 308: SET_UP, 400: REJECTED,
    401: SET_UP, 402: REJECTED, 403: SET_UP, 404: SET_UP, 405: SET_UP, 406: REJECTED, 407: SET_UP,
    408: RETRY, 409: REJECTED, 411: REJECTED, 413: REJECTED, 414: REJECTED, 415: REJECTED,
    418: REJECTED, 422: REJECTED, 429: RETRY, 431: REJECTED, 500: UNKNOWN, 501: UNKNOWN,
    502: UNKNOWN, 503: RETRY, 504: UNKNOWN, 520: UNKNOWN, 599: UNKNOWN,
}  # fmt: skip
NO_ANSWERS = (b"", b"<html>", b"[]", b"null", b"\xff\xfe", b'{"error"', b'{"error": "no"}', b"7")


def error(status: int, rpc: str, details: list[object]) -> bytes:
    found = {"code": status, "message": "the token abc", "status": rpc, "details": details}
    return json.dumps({"error": found}).encode()


@pytest.mark.parametrize(("told", "status", "rpc", "outcome", "code"), FCM)
def test_every_error_code_of_fcm(
    told: str, status: int, rpc: str, outcome: PushOutcome, code: str
) -> None:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    answer = error(status, rpc, [{"@type": kind, "errorCode": told}])
    found = fcm.interpret(status, {"Retry-After": "9"}, answer, now=NOON)
    assert (found.outcome, found.code) == (outcome, code)
    assert found.retry_after == (timedelta(seconds=9) if outcome is RETRY else None)


def test_none_of_the_error_codes_is_left_out() -> None:
    documented = {
        "UNSPECIFIED_ERROR", "INVALID_ARGUMENT", "UNREGISTERED", "SENDER_ID_MISMATCH",
        "QUOTA_EXCEEDED", "UNAVAILABLE", "INTERNAL", "THIRD_PARTY_AUTH_ERROR",
    }  # fmt: skip
    assert documented <= {told for told, *_ in FCM}
    assert len({rpc for rpc, *_ in RPC}) == 16


@pytest.mark.parametrize(("rpc", "status", "outcome", "code"), RPC)
def test_every_status_of_googles_apis(
    rpc: str, status: int, outcome: PushOutcome, code: str
) -> None:
    for details in ([], [{"@type": "type.googleapis.com/google.rpc.BadRequest"}], ["odd", None]):
        found = fcm.interpret(status, {}, error(status, rpc, details), now=NOON)
        assert (found.outcome, found.code) == (outcome, code)


@pytest.mark.parametrize("interpret", [fcm.interpret, jpush.interpret, sms.interpret])
@pytest.mark.parametrize(("status", "outcome"), HTTP.items())
def test_every_http_status_without_a_word(
    interpret: Callable[..., PushResult], status: int, outcome: PushOutcome
) -> None:
    if interpret is sms.interpret and status == 409:
        outcome = SENT  # our port: it was accepted before
    if interpret is jpush.interpret and status == 410:
        outcome = SET_UP
    for answer in NO_ANSWERS:
        found = interpret(status, {}, answer, now=NOON)
        assert found.outcome is outcome, answer
        assert found.code == (None if outcome is SENT else f"HTTP_{status}")


# https://docs.jiguang.cn/jpush/server/push/http_status_code: with an error that has no number.
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, REJECTED), (401, SET_UP), (403, SET_UP), (404, SET_UP), (405, SET_UP), (410, SET_UP),
        (429, RETRY), (500, UNKNOWN), (502, UNKNOWN), (503, RETRY), (504, UNKNOWN),
    ],
)  # fmt: skip
def test_every_http_status_of_jpush(status: int, outcome: PushOutcome) -> None:
    found = jpush.interpret(status, {}, b'{"error": {"code": 4711, "message": "x"}}', now=NOON)
    assert (found.outcome, found.code) == (outcome, f"HTTP_{status}")


# RFC 5321, 4.2.3, and RFC 4954, 4 and 6: of the greeting and us, of the recipient, of the message.
SMTP = {
    421: (RETRY, RETRY, RETRY),
    432: (RETRY, RETRY, RETRY),
    450: (RETRY, RETRY, RETRY),
    451: (RETRY, RETRY, RETRY),
    452: (RETRY, RETRY, RETRY),
    454: (SET_UP, SET_UP, SET_UP),
    455: (RETRY, RETRY, RETRY),
    500: (SET_UP, REJECTED, REJECTED),
    501: (SET_UP, REJECTED, REJECTED),
    502: (SET_UP, SET_UP, SET_UP),
    503: (SET_UP, SET_UP, SET_UP),
    504: (SET_UP, REJECTED, REJECTED),
    521: (SET_UP, REJECTED, REJECTED),
    530: (SET_UP, SET_UP, SET_UP),
    534: (SET_UP, SET_UP, SET_UP),
    535: (SET_UP, SET_UP, SET_UP),
    538: (SET_UP, SET_UP, SET_UP),
    550: (SET_UP, GONE, REJECTED),
    551: (SET_UP, GONE, REJECTED),
    552: (SET_UP, REJECTED, REJECTED),
    553: (SET_UP, GONE, REJECTED),
    554: (SET_UP, REJECTED, REJECTED),
    555: (SET_UP, REJECTED, REJECTED),
    556: (SET_UP, REJECTED, REJECTED),
}


@pytest.mark.parametrize(("code", "outcomes"), SMTP.items())
def test_every_refusal_of_a_mail_server(code: int, outcomes: tuple[PushOutcome, ...]) -> None:
    found = [
        smtp_attempt._of_set_up(code),
        smtp_attempt._of_recipient(code, b"no"),
        smtp_attempt._of_message(code, is_taken=True),
    ]
    assert [it.outcome for it in found] == list(outcomes)
    assert {it.code for it in found} == {f"SMTP_{code}"}
