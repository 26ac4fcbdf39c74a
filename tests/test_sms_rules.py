"""How long an SMS is, what is cut, and which answers refuse more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.nudges import addressed, sms_rules
from app.nudges.addressed import Words
from app.nudges.sms_rules import PARTS_MAX, fitted, is_refusal, parts

LINK = "https://w.example/l/AbCdEfGhIjKlMnOp"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        # The two halves of the 77th are not parted: 76 signs fill 152 of 153.
        ("€" * 153, 3),
        ("好" * 70, 1),
        ("好" * 71, 2),
        ("好" * 134, 2),
        ("好" * 135, 3),
        ("a" * 70 + "好", 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        # 33 of them fill 66 of 67.
        ("😀" * 67, 3),
        ("`", 1),
    ],
)
def test_parts(text: str, expected: int) -> None:
    assert parts(text) == expected


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=600)


@given(before=st.text(max_size=80), words=TEXTS, most=st.integers(3, PARTS_MAX))
@settings(max_examples=150, deadline=None)
def test_what_is_cut_fits_and_loses_no_more_than_it_must(
    before: str, words: str, most: int
) -> None:
    after = f" {LINK} 拒收请回复R"
    found = fitted(before, words, after, parts_max=most)
    if parts(before + words + after) <= most:
        assert found == words
        return
    assert parts(before + found + after) <= most or found == "..."
    kept = found.removesuffix("...")
    assert found.endswith("...") and words.startswith(kept)


def test_the_link_and_how_to_refuse_are_never_cut() -> None:
    said = addressed.sms(Words("体检", "好" * 1000), link=LINK, is_advertising=True, locale="zh-CN")
    assert said.endswith(f"... {LINK} 拒收请回复R")
    assert parts(f"体检: {said}") == PARTS_MAX
    english = addressed.sms(Words("Check", "x" * 2000), link=LINK, is_advertising=True, locale="en")
    assert english.endswith(f"... {LINK} Reply STOP to opt out")
    assert parts(f"Check: {english}") == PARTS_MAX


def test_the_neutral_sms_is_one_part() -> None:
    for locale, words in (
        ("zh-CN", Words("Wellward", "你有一条新消息，点按查看。")),
        ("en", Words("Wellward", "You have a message. Tap to see it.")),
    ):
        said = addressed.sms(words, link=LINK, is_advertising=False, locale=locale)
        assert parts(f"Wellward: {said}") == 1


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ("R", True),
        ("r。", True),
        ("Ｒ", True),
        ("T", True),
        ("TD", True),
        ("退订", True),
        ("【退订】", True),
        (" STOP\n", True),
        ("unsubscribe", True),
        ("Stop it, I like it", False),
        ("RR", False),
        ("请不要退订", False),
        ("", False),
        ("。", False),
        ("R" + " " * 100, False),
    ],
)
def test_which_answers_refuse(answer: str, refuses: bool) -> None:
    assert is_refusal(answer) is refuses
    assert len(answer) <= sms_rules.ANSWER_LENGTH_MAX or not refuses
