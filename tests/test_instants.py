"""Instants as clients write them: read without a regular expression where they have a usual form, and
then as the regular expression would have them."""

import re
from datetime import datetime
from random import Random
from typing import Any

from graphql import GraphQLError

from app.graphql.scalars import parse_instant

_FORM = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
FORMS = (
    "2026-03-01T07:30:00Z", "2026-03-01T07:30:00+08:00", "2026-03-01T07:30:00.123Z",
    "2026-03-01T07:30:00.123456Z", "2026-03-01T07:30:00.123+08:00",
    "2026-03-01T07:30:00.123456-08:00", "2026-03-01t07:30:00.1234567z", "2026-03-01T07:30Z",
    "2026-W09-7T07:30:00+08:00", "20260301T073000.123456+08:00", "2026-03-01T07:30:00,123Z",
    "2026-03-01T07:30:00.12+08:00:00", "2026-03-01T07:30:00+08,00", "2026-03-01T24:00:00Z",
)  # fmt: skip
CHARACTERS = "0123456789-+:.,TtZzW ٣/ "


def test_the_usual_forms_are_no_others() -> None:
    random = Random(7)
    good = 0
    for _ in range(20_000):
        text = list(random.choice(FORMS))
        for _ in range(random.choice((0, 1, 1, 2))):
            at = random.randrange(len(text))
            text[at : at + random.choice((0, 1, 1, 1))] = random.choice(("", *CHARACTERS))
        sent = "".join(text)
        expected = by_the_form(sent)
        assert read(sent) == expected, sent
        good += expected is not None
    assert good > 2_000


def by_the_form(text: str) -> datetime | None:
    if not _FORM.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).upper())
    except ValueError:
        return None
    return found if 1900 <= found.year <= 2200 else None


def read(value: Any) -> datetime | None:
    try:
        return parse_instant(value)
    except GraphQLError:
        return None
