"""Questionnaires as data, and whether answers fit them: no database."""

from datetime import date
from decimal import Decimal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.measurements.alerts_rules import AlertSeverity
from app.measurements.catalogue import quantities
from app.records import forms, published, rules
from app.records.forms import Questionnaire
from app.records.published import QuestionnaireInvalid, read
from app.records.rules import Fault, Given

TODAY = date(2026, 3, 2)
CODES = {
    "activity",
    "alcohol",
    "diet",
    "family-history",
    "gad-7",
    "health-declaration",
    "phq-9",
    "sleep",
    "smoking",
}
SAMPLE = """
code: sample
version: "1"
title: {zh: 样本, en: Sample}
source: Made for these tests.
items:
  - {key: yes_no, text: {zh: 是否, en: Yes or no}, kind: BOOLEAN}
  - {key: count, text: {zh: 数, en: Count}, kind: INTEGER, minimum: -2, maximum: 10, unit: "{times}", required: false}
  - {key: size, text: {zh: 大小, en: Size}, kind: DECIMAL, minimum: 1, maximum: "2.5", unit: kg, required: false}
  - {key: words, text: {zh: 文字, en: Words}, kind: TEXT, length_max: 5, required: false}
  - {key: day, text: {zh: 日, en: Day}, kind: DATE, required: false}
  - key: one
    text: {zh: 一个, en: One}
    kind: SINGLE_CHOICE
    show_when: {key: yes_no, any_of: ["true"]}
    options: [{value: a, label: {zh: 甲, en: A}, score: 1}, {value: b, label: {zh: 乙, en: B}, score: 3}]
  - key: several
    text: {zh: 几个, en: Several}
    kind: MULTIPLE_CHOICE
    show_when: {key: one, any_of: [b]}
    options:
      - {value: none, label: {zh: 无, en: None}, exclusive: true, score: 0}
      - {value: x, label: {zh: 子, en: X}, score: 2}
      - {value: y, label: {zh: 丑, en: Y}, score: 5}
scores:
  - {code: total, title: {zh: 总, en: Total}, of: [one, several], bands: [
      {code: low, minimum: 0, label: {zh: 低, en: Low}},
      {code: high, minimum: 8, minimum_female: 6, label: {zh: 高, en: High}}]}
"""
FORM = Questionnaire.model_validate(yaml.safe_load(SAMPLE))


def check(form: Questionnaire = FORM, **answers: object):
    given = [
        Given(key, list(value) if isinstance(value, tuple) else [str(value)])
        for key, value in answers.items()
    ]
    return rules.check(form, given, today=TODAY)


def fault(**answers: object) -> tuple[str, str]:
    found = check(**answers)
    assert isinstance(found, Fault), found
    assert found.text.zh and found.text.zh != found.text.en
    return found.field, found.text.en


def all_of(code: str, value: str, **changes: str):
    form = published.in_force()[code]
    given = [
        Given(item.key, [changes.get(item.key, value)]) for item in form.items if item.required
    ]
    found = rules.check(form, given, today=TODAY)
    assert not isinstance(found, Fault), found
    return form, found


# Typed answers


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("count", "-2", "-2"),
        ("count", "007", "7"),
        ("count", "-0", "0"),
        ("size", "1", "1"),
        ("size", "2.500", "2.5"),
        ("size", "01.10", "1.1"),
        ("words", "  hey ", "hey"),
        ("words", "五个字以内", "五个字以内"),
        ("day", "2026-03-02", "2026-03-02"),
        ("day", "1900-01-01", "1900-01-01"),
    ],
)
def test_an_answer_is_kept_in_one_spelling(key, value, kept):
    assert check(yes_no="false", **{key: value}) == {"yes_no": ("false",), key: (kept,)}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("count", "11", "a whole number from -2 to 10 (times)"),
        ("count", "-3", "from -2 to 10"),
        ("count", "1.5", "a whole number"),
        ("count", "1e3", "a whole number"),
        ("count", "٣", "a whole number"),
        ("count", "", "a whole number"),
        ("size", "0.999", "a number of at most three decimals from 1 to 2.5 (kg)"),
        ("size", "2.501", "from 1 to 2.5"),
        ("size", "1.0001", "three decimals"),
        ("size", "NaN", "a number"),
        ("words", "six666", "at most 5"),
        ("words", " ", "Write something"),
        ("words", "a\0", "Write something"),
        ("day", "2026-03-03", "until today"),
        ("day", "1899-12-31", "from 1900"),
        ("day", "2026-02-30", "takes a day"),
        ("day", "20260301", "takes a day"),
        ("yes_no", "yes", "true or false"),
        ("yes_no", "True", "true or false"),
    ],
)
def test_a_fault_names_the_place_and_what_is_allowed(key, value, allowed):
    answers = {"yes_no": "false"} | {key: value}
    field, told = fault(**answers)
    assert field == f"answers.{list(answers).index(key)}.values"
    assert allowed in told
    assert not value.strip() or value not in told.replace("at most 5", ""), "never repeated"


def test_choices_are_of_the_forms_options():
    assert fault(yes_no="true", one="c") == ("answers.1.values", '"One" takes these values: a, b.')
    assert fault(yes_no="true", one=("a", "b"))[0] == "answers.1.values"
    assert fault(yes_no="true", one=())[0] == "answers.1.values"
    assert "takes these values" in fault(yes_no="true", one="b", several=())[1]
    assert "twice" in fault(yes_no="true", one="b", several=("x", "x"))[1]
    assert "stands alone" in fault(yes_no="true", one="b", several=("none", "x"))[1]
    kept = check(yes_no="true", one="b", several=("y", "x"))
    assert kept["several"] == ("x", "y"), "in the order of the form"


def test_unknown_and_repeated_questions_are_named_by_their_key():
    assert fault(yes_no="false", other="x")[0] == "answers.1.key"
    twice = rules.check(FORM, [Given("yes_no", ["true"]), Given("yes_no", ["true"])], today=TODAY)
    assert isinstance(twice, Fault) and twice.field == "answers.1.key"


# Branching


def test_what_is_not_shown_is_neither_required_nor_taken():
    assert check(yes_no="false") == {"yes_no": ("false",)}
    assert fault(yes_no="false", one="a") == (
        "answers.1.key",
        '"One" is not asked after the answers before it.',
    )
    # Hangs on `one`, which is not shown.
    assert fault(yes_no="false", several="x")[0] == "answers.1.key"
    assert fault(yes_no="true", one="a", several="x")[0] == "answers.2.key"


def test_what_is_shown_and_required_must_be_answered():
    assert fault() == ("answers", '"Yes or no" needs an answer.')
    assert fault(yes_no="true") == ("answers", '"One" needs an answer.')
    assert fault(yes_no="true", one="b") == ("answers", '"Several" needs an answer.')
    assert not isinstance(check(yes_no="true", one="a"), Fault)


def test_the_order_of_answers_says_nothing():
    assert check(one="a", yes_no="true") == check(yes_no="true", one="a")


@given(st.data())
def test_whoever_answers_what_is_shown_is_never_refused(data):
    form = data.draw(st.sampled_from(sorted(published.in_force().values(), key=lambda it: it.code)))
    answers: dict[str, tuple[str, ...]] = {}
    for item in form.items:
        if item not in forms.shown(form, answers):
            continue
        if not item.required and data.draw(st.booleans()):
            continue
        answers[item.key] = data.draw(values_of(item))
    given = [Given(key, values) for key, values in answers.items()]
    assert rules.check(form, given, today=TODAY) == answers
    for low in (True, False):
        for scored, score in zip(
            rules.scores(form, answers, lower_limits=low), form.scores, strict=True
        ):
            assert (scored.band is not None) == bool(score.bands)
            if score.measure is not None:
                unit = quantities()[score.measure].unit(score.unit)
                assert unit is not None and unit.minimum <= scored.value <= unit.maximum


def values_of(item: forms.Item):
    match item.kind:
        case forms.QuestionKind.BOOLEAN:
            return st.sampled_from([("true",), ("false",)])
        case forms.QuestionKind.INTEGER:
            return st.integers(int(item.minimum), int(item.maximum)).map(lambda it: (str(it),))
        case forms.QuestionKind.DECIMAL:
            numbers = st.decimals(item.minimum, item.maximum, places=2)
            return numbers.map(lambda it: (rules.plain(it),))
        case forms.QuestionKind.TEXT:
            return st.just(("penicillin",))
        case forms.QuestionKind.DATE:
            return st.dates(date(1900, 1, 1), TODAY).map(lambda it: (it.isoformat(),))
        case forms.QuestionKind.SINGLE_CHOICE:
            return st.sampled_from([(option.value,) for option in item.options])
    alone = [(it.value,) for it in item.options if it.exclusive]
    others = [it.value for it in item.options if not it.exclusive]
    several = st.sets(st.sampled_from(others), min_size=1).map(
        lambda chosen: tuple(it for it in others if it in chosen)
    )
    return st.one_of(st.sampled_from(alone), several) if alone else several


# Scores and alerts


@pytest.mark.parametrize(
    ("answers", "value", "band", "lower_band"),
    [
        ({"yes_no": "false"}, 0, "low", "low"),
        ({"yes_no": "true", "one": "a"}, 1, "low", "low"),
        ({"yes_no": "true", "one": "b", "several": ("none",)}, 3, "low", "low"),
        ({"yes_no": "true", "one": "b", "several": ("x",)}, 5, "low", "low"),
        ({"yes_no": "true", "one": "b", "several": ("y",)}, 8, "high", "high"),
    ],
)
def test_a_score_adds_up_what_was_shown(answers, value, band, lower_band):
    found = check(**answers)
    for low, wanted in ((False, band), (True, lower_band)):
        [scored] = rules.scores(FORM, found, lower_limits=low)
        assert (scored.value, scored.band) == (value, wanted)


@pytest.mark.parametrize(
    ("total", "band"),
    [
        (0, "minimal"), (4, "minimal"), (5, "mild"), (9, "mild"), (10, "moderate"),
        (14, "moderate"), (15, "moderately_severe"), (19, "moderately_severe"),
        (20, "severe"), (27, "severe"),
    ],
)  # fmt: skip
def test_every_boundary_of_phq_9(total, band):
    form = published.in_force()["phq-9"]
    keys = form.scores[0].of
    points = [min(3, max(0, total - 3 * place)) for place in range(9)]
    given = [Given(key, [str(value)]) for key, value in zip(keys, points, strict=True)]
    answers = rules.check(form, given, today=TODAY)
    assert not isinstance(answers, Fault)
    [scored] = rules.scores(form, answers, lower_limits=False)
    assert (scored.value, scored.band) == (total, band)


@pytest.mark.parametrize(
    ("total", "band"),
    [(0, "minimal"), (4, "minimal"), (5, "mild"), (9, "mild"), (10, "moderate"),
     (14, "moderate"), (15, "severe"), (21, "severe")],
)  # fmt: skip
def test_every_boundary_of_gad_7(total, band):
    form = published.in_force()["gad-7"]
    points = [min(3, max(0, total - 3 * place)) for place in range(7)]
    answers = {key: [str(value)] for key, value in zip(form.scores[0].of, points, strict=True)}
    [scored] = rules.scores(form, answers, lower_limits=False)
    assert (scored.value, scored.band) == (total, band)


@pytest.mark.parametrize(
    ("answers", "value", "man", "woman"),
    [
        ({"frequency": "never"}, 0, "low_risk", "low_risk"),
        ({"frequency": "two_to_four_a_month", "amount": "one_or_two", "six_or_more": "never"}, 2, "low_risk", "low_risk"),
        ({"frequency": "two_to_three_a_week", "amount": "one_or_two", "six_or_more": "never"}, 3, "low_risk", "at_risk"),
        ({"frequency": "four_a_week", "amount": "one_or_two", "six_or_more": "never"}, 4, "at_risk", "at_risk"),
        ({"frequency": "four_a_week", "amount": "ten_or_more", "six_or_more": "daily"}, 12, "at_risk", "at_risk"),
    ],
)  # fmt: skip
def test_the_limits_of_audit_c_by_sex(answers, value, man, woman):
    form = published.in_force()["alcohol"]
    sent = answers if answers["frequency"] == "never" else {**answers, "drinks_last_week": "14"}
    found = check(form, **sent)
    assert not isinstance(found, Fault)
    by_code = {it.code: it for it in rules.scores(form, found, lower_limits=False)}
    assert (by_code["audit_c"].value, by_code["audit_c"].band) == (value, man)
    lower = {it.code: it for it in rules.scores(form, found, lower_limits=True)}
    assert lower["audit_c"].band == woman
    # 14 drinks of 10 g a week are 20 g a day.
    grams = Decimal(0 if answers["frequency"] == "never" else 20)
    assert by_code["ethanol_per_day"].value == grams


@pytest.mark.parametrize("value", ["1", "2", "3"])
def test_thoughts_of_self_harm_call_for_help_at_once(value):
    form, answers = all_of("phq-9", "0", self_harm=value)
    [alert] = rules.alerts(form, answers)
    assert (alert.severity, alert.due_hours) == (AlertSeverity.URGENT, 1)
    for text in (alert.message.zh, alert.message.en):
        assert "12356" in text and "120" in text
    # What the worklist shows says nothing about what was answered.
    assert "harm" not in alert.reason.en and "伤害" not in alert.reason.zh
    assert rules.alerts(*all_of("phq-9", "0")) == []
    assert rules.alerts(*all_of("phq-9", "3", self_harm="0")) == []


# The data files


def test_every_questionnaire_is_there_in_both_languages():
    assert set(published.in_force()) == CODES
    for form in published.every().values():
        for words in texts(form):
            assert words.zh != words.en or words.zh.isascii()
            assert any("\u4e00" <= letter <= "\u9fff" for letter in words.zh)
        assert len(form.source) > 40, "says which instrument it is, and why it may be used"


def texts(form: Questionnaire):
    yield form.title
    for item in form.items:
        yield item.text
        yield from (option.label for option in item.options)
    for alert in form.alerts:
        yield from (alert.message, alert.reason)


def test_a_question_is_recorded_within_the_catalogues_range():
    for form in published.every().values():
        for item in form.items:
            if item.measure is not None:
                unit = quantities()[item.measure].unit(item.unit or "")
                assert unit is not None
                assert unit.minimum <= item.minimum <= item.maximum <= unit.maximum


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("key: count", "key: yes_no", "'yes_no' is there twice"),
        ("key: yes_no, any_of", "key: several, any_of", "not an earlier item"),
        ('any_of: ["true"]', 'any_of: ["yes"]', "never 'yes'"),
        ("any_of: [b]", "any_of: [c]", "never 'c'"),
        ("of: [one, several]", "of: [one, nothing]", "no such item"),
        ("of: [one, several]", "of: [count]", "must be required"),
        (", score: 3", "", "not every option has a score"),
        ("minimum: -2", "minimum: 11", "minimum exceeds maximum"),
        ("minimum: -2, ", "", "numbers, and no others"),
        ("length_max: 5, ", "", "texts have a length_max"),
        ("kind: DATE", "kind: DATE, unit: d", "only numbers have a unit"),
        ("kind: BOOLEAN", "kind: SINGLE_CHOICE", "options and choices"),
        ("{value: y,", "{value: x,", "an option is there twice"),
        ("minimum: 8", "minimum: 0", "bands must rise"),
        ("of: [one, several]", "measure: NOTHING, of: [one]", "not in the catalogue"),
        ("of: [one, several]", "measure: PHQ9, unit: kg, of: [one]", "PHQ9 is not taken in 'kg'"),
        ("zh: 样本, ", "", "title.zh: Field required"),
        ("kind: TEXT", "kind: TEXT, colour: red", "Extra inputs"),
        ('version: "1"', 'version: "1.0"', "version: String should match"),
        ("items:", "items: {", "is no YAML"),
        ("code: sample", "code: other", "call it other.1.yaml"),
    ],
)
def test_a_faulty_file_is_refused_by_name(tmp_path, old, new, told):
    assert old in SAMPLE
    (tmp_path / "sample.1.yaml").write_text(SAMPLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(QuestionnaireInvalid) as caught:
        read(tmp_path)
    assert told in str(caught.value) and "sample.1.yaml" in str(caught.value)


def test_the_sample_itself_is_good(tmp_path):
    (tmp_path / "sample.1.yaml").write_text(SAMPLE, encoding="utf-8")
    assert read(tmp_path) == {("sample", "1"): FORM}


@pytest.mark.parametrize(
    ("text", "plain"),
    [("1.50", "1.5"), ("10", "10"), ("100", "100"), ("0.000", "0"), ("-0", "0"), ("007", "7"),
     ("-1.20", "-1.2"), ("0.5", "0.5"), ("1E+2", "100")],
)  # fmt: skip
def test_numbers_are_spelled_plainly(text, plain):
    assert rules.plain(Decimal(text)) == plain
