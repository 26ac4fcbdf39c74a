"""Global ids: opaque to clients, and the whole key to us.

The id of a member-owned object carries its member, so that every look-up is by
(member, key) and access is decided before anything is read.
"""

from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from app.errors import NotFound
from app.ids import id_of

Part = UUID | date


class Kind(StrEnum):
    """Two letters a type, never reused."""

    MEMBER = "mb"
    STAFF = "st"
    CONSENT = "cs"
    PAUSE = "pa"
    MEASUREMENT = "me"
    DAILY_TOTAL = "dt"
    RISK_PROFILE = "rp"
    RISK_ASSESSMENT = "ra"
    TASK = "ta"
    CHECK_IN = "ci"
    POINTS_ACCOUNT = "pt"
    POINTS_ENTRY = "pe"
    REDEMPTION = "re"
    REWARD = "rw"
    POLICY = "po"
    CONTRACT = "co"
    INVOICE = "iv"
    REFUND = "rf"
    REMINDER = "rm"
    MESSAGE = "ms"
    PREFERENCES = "np"
    INSTALLATION = "in"
    WORKLIST_ITEM = "wi"
    WORKLIST_EVENT = "we"
    ALERT = "al"
    HEALTH_DEVICE = "hd"
    DEVICE_LOAN = "dl"
    DATA_SOURCE = "ds"
    REVIEW = "rv"
    QUESTIONNAIRE_RESPONSE = "qr"
    CONDITION = "cd"
    MEDICATION = "md"
    MILD_CONDITION_CASE = "mc"
    BENEFIT_COST = "bc"
    ENTITLEMENT_USE = "eu"
    PREMIUM_LINE = "pl"
    SAVED_SEGMENT = "sg"
    CAMPAIGN = "ca"
    CLAIM_STORY = "cy"
    PORTFOLIO_PROPOSAL = "pp"
    PREVENTION_SPENDING = "pv"


_SHAPES: dict[Kind, str] = {
    Kind.MEMBER: "u",
    Kind.STAFF: "u",
    Kind.REWARD: "u",
    Kind.SAVED_SEGMENT: "u",
    Kind.CAMPAIGN: "u",
    Kind.HEALTH_DEVICE: "u",
    Kind.RISK_PROFILE: "u",
    Kind.RISK_ASSESSMENT: "uuu",
    Kind.POINTS_ACCOUNT: "u",
    Kind.PREFERENCES: "u",
    Kind.TASK: "uud",
    Kind.PREMIUM_LINE: "uuu",
    Kind.PORTFOLIO_PROPOSAL: "u",
    Kind.PREVENTION_SPENDING: "u",
}
"""The parts of each kind: u a UUID, d a date; `uu` (member, key) unless named here."""


@dataclass(frozen=True, slots=True)
class GlobalId:
    kind: Kind
    parts: tuple[Part, ...]

    @property
    def owner_id(self) -> UUID:
        """The member whose object it is; of what is nobody's, itself."""
        owner = self.parts[0]
        assert isinstance(owner, UUID)
        return owner

    @property
    def key(self) -> UUID:
        """The second part: the object's own key."""
        key = self.parts[1]
        assert isinstance(key, UUID)
        return key


_PREFIXES = {kind: kind.encode() for kind in Kind}
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def encode(kind: Kind, *parts: Part) -> str:
    return tail(_PREFIXES[kind] + b"".join([key_bytes(part) for part in parts]))


def head(kind: Kind, member_id: UUID) -> str:
    """With what the ids of a member's objects begin: kind and member fill whole groups of base64.
    `head(kind, a) + tail(b)` is `encode(kind, a, b)`, and many of them cost a third."""
    return tail(_PREFIXES[kind] + member_id.bytes)


class Owner:
    """A member, for whom many ids are written: only the first group of base64 differs by kind."""

    __slots__ = ("_first", "_rest")

    def __init__(self, member_id: UUID) -> None:
        raw = member_id.bytes
        self._first = raw[0]
        self._rest = tail(raw[1:])

    def head(self, kind: Kind) -> str:
        """As `head`; also the whole id of what a member has one of."""
        return _FIRST_GROUPS[kind][self._first] + self._rest


class _FirstGroups(dict[Kind, list[str]]):
    """By kind and the first byte of what follows."""

    def __missing__(self, kind: Kind) -> list[str]:
        found = self[kind] = [tail(_PREFIXES[kind] + bytes((it,))) for it in range(256)]
        return found


_FIRST_GROUPS = _FirstGroups()


def tail(raw: bytes) -> str:
    return b2a_base64(raw).translate(_URL_SAFE, b"=\n").decode()


TAIL_SQL = "encode(uuid_send({}), 'base64')"
"""SQL: the tail of a UUID as PostgreSQL writes it, to be joined with others for `tails`."""


def tails(joined: str) -> list[str]:
    """The tails of many UUIDs, from what `TAIL_SQL` gave for each, with nothing between; from
    `==` an empty one. Takes a tenth of the time of `tail` for each."""
    found = joined.replace("+", "-").replace("/", "_").split("==")
    found.pop()
    return found


def tail_of_day(day: date) -> str:
    """What follows the tail of a UUID when a day comes after it. The last letter of that has room
    for four bits of the day, which are zero: days do not need them."""
    return tail(bytes(1) + key_bytes(day))[2:]


def key_bytes(part: Part) -> bytes:
    return part.bytes if isinstance(part, UUID) else part.toordinal().to_bytes(4)


def parse(text: str) -> GlobalId | None:
    """What an id names; None when it is none of ours."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        kind = Kind(raw[:2].decode("ascii"))
        parts = _parts(raw[2:], _SHAPES.get(kind, "uu"))
    except (ValueError, Base64Error, OverflowError):
        return None
    found = GlobalId(kind, parts)
    # One object has one id: anything but its canonical spelling names nothing.
    return found if encode(kind, *parts) == text else None


def decode(text: str, kind: Kind, *, field: str) -> GlobalId:
    """What an id names, which must be of `kind`. Raises NotFound naming `field`."""
    found = parse(text)
    if found is None or found.kind is not kind:
        raise NotFound(field=field)
    return found


def _parts(raw: bytes, shape: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    for letter in shape:
        size = 16 if letter == "u" else 4
        piece, raw = raw[:size], raw[size:]
        if len(piece) != size:
            raise ValueError("too short")
        parts.append(id_of(piece) if letter == "u" else date.fromordinal(int.from_bytes(piece)))
    if raw:
        raise ValueError("too long")
    return tuple(parts)
