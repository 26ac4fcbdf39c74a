"""Every wording that ships is one that could be published; what could not is told."""

from typing import Any

import pytest

from app.members.rules import SegmentCode
from app.nudges import policies, wording_rules, wordings
from app.nudges.wording_rules import Wording, faults, render

SAMPLES: dict[str, Any] = {"days": 3, "left": 3200}


@pytest.mark.parametrize("key", wordings.shipped(), ids=lambda key: f"{key.code}-{key.arm}")
def test_what_ships_could_be_published(key: wordings.Key) -> None:
    policy = wordings.policy_of(key.code)
    assert policy is not None and key.arm in policy.arms
    assert key.segment == "" or SegmentCode(key.segment)
    wording = wordings.shipped()[key]
    found = faults(wording, locale=key.locale, samples=policy.fact.samples)
    assert [(it.field, it.text.en) for it in found] == []


def test_every_arm_has_its_words_in_both_languages() -> None:
    known = {key: wordings.Version(it, 0) for key, it in wordings.shipped().items()}
    for policy in policies.in_force().values():
        assert policy.fact.samples.keys() == policy.fact.values.keys(), policy.code
        for arm in policy.arms:
            for locale in wordings.LOCALES:
                assert wordings.Key(policy.wording, arm, "", locale) in known, (policy.code, arm)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{{ points }}分", "there is no value 'points'; there are: days, left"),
        ("{{ days", "a syntax error in line 1"),
        ("{% for x in [1] %}天{% endfor %}", "For is not allowed"),
        ("{{ days.__class__ }}", "Getattr is not allowed"),
        ("{{ days|string }}", "Filter is not allowed"),
        ("{{ range(9) }}", "Call is not allowed"),
        ("{{ 9 ** 9 }}", "Pow is not allowed"),
        ("{% set x = 1 %}天", "Assign is not allowed"),
        ("{% include 'x' %}天", "Include is not allowed"),
        ("{{ '天' ~ days }}", "Concat is not allowed"),
        ("", "1 to 1000 characters"),
        ("天" * 1001, "1 to 1000 characters"),
        ("今天天气很好。" * 50, "350 characters when shown, at most 300"),
        ("点这里 https://example.com", "must not hold a link (use the action)"),
        ("请致电 4001234567", "must not hold a number of a phone or document"),
        ("三天治愈", "must not hold a promise of effect or gain"),
        ("您好，今天走了吗", "must not hold 您 (members are addressed as 你)"),
        ("走" * 41, "a sentence of 41 characters, at most 40"),
        ("饕餮盛宴与龃龉", "too many rare characters: 餮饕龃龉"),
        ("hello", "nothing in Chinese"),
        ("{{ days }}\u202e天", "nothing that can be read"),
    ],
)
def test_what_may_not_be_published(body: str, said: str) -> None:
    found = faults(Wording("提醒", body), locale="zh-CN", samples=SAMPLES)
    assert said in [it.text.en for it in found]
    assert {it.field for it in found} == {"body"} or said == "nothing in Chinese"


def test_if_and_values_are_what_a_wording_has() -> None:
    wording = Wording(
        "{{ left }} 步", "{% if days == 0 %}今天{% else %}还有 {{ days }} 天{% endif %}"
    )
    assert faults(wording, locale="zh-CN", samples=SAMPLES) == []
    assert render(wording, SAMPLES) == Wording("3200 步", "还有 3 天")
    assert render(wording, {"left": 1, "days": 0}) == Wording("1 步", "今天")


def test_a_value_is_never_a_template_itself() -> None:
    wording = Wording("提醒", "{{ left }}")
    assert render(wording, {"left": "{{ days }}"}).body == "{{ days }}"


def test_the_closest_wording_is_chosen() -> None:
    known = {
        wordings.Key("c", "a", segment, locale): wordings.Version(Wording(segment, locale), 0)
        for segment, locale in (("", "zh-CN"), ("", "en"), ("ELDERLY", "zh-CN"))
    }

    def chosen(segment: str | None, locale: str) -> tuple[str, str] | None:
        it = wordings.choose(known, code="c", arm="a", segment=segment, locale=locale)
        return (it.title, it.body) if it else None

    assert chosen(None, "zh-CN") == ("", "zh-CN")
    assert chosen("ELDERLY", "zh-Hans-CN") == ("ELDERLY", "zh-CN")
    assert chosen("ELDERLY", "en-GB") == ("", "en")
    assert chosen("CHILD", "fr") == ("", "zh-CN")
    assert wordings.choose(known, code="c", arm="b", segment=None, locale="en") is None


def test_the_sandbox_itself_knows_nothing() -> None:
    environment = wording_rules._ENVIRONMENT
    assert (environment.globals, environment.filters, environment.tests) == ({}, {}, {})


def said_of(body: str, *, title: str = "提醒", locale: str = "zh-CN") -> list[str]:
    return [it.text.en for it in faults(Wording(title, body), locale=locale, samples=SAMPLES)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        # Jinja would fail, or not end, where nobody sees it.
        ("{{ " + "(" * 480 + "days" + ")" * 480 + " }}天", "it is nested too deeply"),
        ("{{ 'a' * 10**9 }}天", "Mul is not allowed"),
        ("{% if days in 5 %}天{% endif %}天", "numbers are compared with numbers, texts"),
        ("{% if days > 'a' %}天{% endif %}天", "numbers are compared with numbers, texts"),
        ("{% if days > none %}天{% endif %}天", "numbers are compared with numbers, texts"),
        # Also where the sample does not lead.
        (
            "{% if days > 99 %}{% if left in 5 %}天{% endif %}{% endif %}天",
            "numbers are compared with numbers, texts",
        ),
        ("今天{% if days > 99 %}点 https://a.cn{% endif %}", "must not hold a link"),
        (
            "今天{% if days > 99 %}http{% else %}天{% endif %}{% if left > 9999 %}://a{% endif %}",
            "must not hold a link",
        ),
        ("今天{% if days > 99 %}" + "好" * 39 + "。" * 300 + "{% endif %}", "shown, at most 300"),
        ("{% if days > 99 %}今天{% endif %}", "nothing that can be read"),
        ("".join("{% if days == " + str(it) + " %}天{% endif %}" for it in range(8)), "too many"),
        ("{{ days > 2 }}天", "a comparison stands in an `if`"),
        # However it is spelt.
        ("点ｈｔｔｐ：／／ａ．ｃｎ", "must not hold a link"),
        ("点 weixin://dl 看看", "must not hold a link"),
        ("见 wellward.com", "must not hold a link"),
        ("请致电 138 1234 5678", "must not hold a number"),
        ("请致电 138-1234-5678", "must not hold a number"),
        ("请致电 400-123-4567", "must not hold a number"),
        ("请致电 +86 139 0000 0000", "must not hold a number"),
        ("请致电 1\u200b3\u200b8\u200b1\u200b2\u200b3\u200b4\u200b5", "must not hold a number"),
        ("三天治\u200b愈", "must not hold a promise"),
        ("三天治 愈", "must not hold a promise"),
        ("１００％有效", "must not hold a promise"),
        ("ＣＡＳＨ来了", "must not hold cash"),
    ],
)
def test_what_was_hidden_from_the_check(body: str, said: str) -> None:
    assert any(said in it for it in said_of(body)), said_of(body)


def test_what_only_looks_forbidden_may_be_said() -> None:
    assert said_of("有 120 积分可用到 2026-12-31。") == []
    assert said_of("Your cover is secure until 2026-12-31, at 10.30.", locale="en") == []
    assert said_of("It takes 3 of 7 days, or {{ left }} steps.", locale="en") == []


def test_a_title_is_one_line() -> None:
    assert said_of("今天天气很好。", title="提\n醒") == ["nothing that can be read"]
