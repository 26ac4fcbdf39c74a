"""What lines of the statement are called."""

from collections.abc import Callable

from app.points.rules import TransferKind
from app.texts import Text

TITLES: list[Callable[[str, str], str | None]] = []
"""Each gives the title of a rule in a locale, or None when it knows no such rule; the wiring
adds those of upper domains. What they say is remembered."""

_KIND_TITLES = {
    TransferKind.EARNED: Text(zh="获得积分", en="Points earned"),
    TransferKind.REDEEMED: Text(zh="兑换", en="Redeemed"),
    TransferKind.HELD: Text(zh="预留", en="Reserved"),
    TransferKind.RELEASED: Text(zh="退回", en="Released"),
    TransferKind.EXPIRED: Text(zh="积分过期", en="Points expired"),
    TransferKind.REVERSED: Text(zh="撤回", en="Taken back"),
    TransferKind.RESTATED: Text(zh="更正", en="Corrected"),
    TransferKind.ADJUSTED: Text(zh="人工调整", en="Adjusted by staff"),
}
_GIVEN_BACK = Text(zh="兑换退回", en="Given back")


def title_of(kind: str, rule_code: str, locale: str, is_refund: bool) -> str:
    """Of a transfer; `rule_code` is empty where there is none."""
    if is_refund:
        return _GIVEN_BACK.to(locale)
    for titles in TITLES if rule_code else ():
        found = titles(rule_code, locale)
        if found is not None:
            return found
    return _KIND_TITLES[TransferKind(kind)].to(locale)
