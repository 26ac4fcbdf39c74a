"""What an SMS or e-mail says, from the words of its message to its links. No I/O.

Whoever holds the phone reads it: without words that say nothing about the member it says only
that there is a message.
"""

from dataclasses import dataclass

from app.nudges import sms_rules
from app.texts import Text

_OPEN = Text(zh="点此查看", en="Open it")
_UNSUBSCRIBE = Text(zh="不想再收到此类邮件？点此退订", en="No more e-mails like this? Unsubscribe")
_SEPARATOR = "-- "
"""Programs show what follows as a signature (RFC 3676, 4.3)."""


@dataclass(frozen=True, slots=True)
class Words:
    title: str
    body: str
    action_label: str | None = None


def sms(words: Words, *, link: str | None, is_advertising: bool, locale: str) -> str:
    """The body of an SMS, whose title the gateway is given before it: the words, cut if they
    must be, the link, and how to refuse more of what is advertising."""
    hint = sms_rules.REFUSAL_HINT.to(locale) if is_advertising else ""
    # Between spaces, so that phones see where the link begins and ends.
    after = "".join(f" {it}" for it in (link, hint) if it)
    body = sms_rules.fitted(f"{words.title}: ", words.body, after)
    return f"{body}{after}"


def email(words: Words, *, link: str | None, unsubscribe: str | None, locale: str) -> str:
    """The body of an e-mail in plain text: nothing in it is fetched when it is opened."""
    said = [words.body]
    if link is not None:
        said += ["", f"{words.action_label or _OPEN.to(locale)}: {link}"]
    if unsubscribe is not None:
        said += ["", _SEPARATOR, f"{_UNSUBSCRIBE.to(locale)}: {unsubscribe}"]
    return "\n".join(said)
