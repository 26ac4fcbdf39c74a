"""Product documents as YAML: what is written is what is meant, and nothing brings the reader down."""

from itertools import pairwise

import pytest
import yaml

from app.premiums import product, product_yaml
from tests.product_documents import RULES, changed, document, parsed

AMOUNT = "base_premium.by_age.0.amount"
PRICE = "amount: '3000.00'"


def text_of(given) -> str:
    return yaml.safe_dump(given, allow_unicode=True, sort_keys=False)


def written(value: str) -> product.Product:
    """A product whose only price is written so."""
    text = text_of(document())
    assert text.count(PRICE) == 1
    return product.parse(text.replace(PRICE, f"amount: {value}"))


@pytest.mark.parametrize(
    ("value", "amount"),
    [("0100", "100"), ("3000.10", "3000.10"), ("2400", "2400"), ("'12.5'", "12.5")],
)
def test_an_amount_is_what_stands_there(value, amount):
    """In YAML 1.1 0100 is 64."""
    row = written(value).base_premium.by_age[0]
    assert str(row.amount).lstrip("0") == amount


@pytest.mark.parametrize(
    "value", ["12:30", "0x10", "yes", "true", "~", ".nan", ".inf", "2026-01-01"]
)
def test_what_is_no_amount_is_not_taken_for_one(value):
    """In YAML 1.1 12:30 is 750, and 0x10 is 16."""
    with pytest.raises(product.ProductInvalid, match=r"^base_premium\.by_age\.0.*amount: "):
        written(value)


@pytest.mark.parametrize("value", [True, False])
def test_true_is_no_number(value):
    with pytest.raises(product.ProductInvalid, match=r"^eligibility: age_from: not "):
        parsed(changed(document(), "eligibility.age_from", value))


def test_norway_is_a_region():
    given = text_of(document("region")).replace("CN-31: '20'", "NO: '20'")
    assert list(product.parse(given).rules[0].percent_by_region) == ["NO"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{10: 1, '10': 2}", "line 1, column 9: the key '10' stands twice"),
        ("? [a]\n: 1", "found unhashable key"),
        ("a: &a {b: *a}", "recursive"),
        ("x: 1\n---\nx: 2", "line 2, column 1"),
        ("a: " + "[" * 5_000 + "]" * 5_000, "too deep"),
        ("a: \0", "not a YAML document"),
    ],
)
def test_what_cannot_be_read_says_where(text, words):
    with pytest.raises(product_yaml.NotYaml) as error:
        product_yaml.load(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_aliases_do_not_multiply():
    """Nine to the power of eight values in half a kilobyte."""
    names = "abcdefgh"
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"] + [
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]" for before, name in pairwise(names)
    ]
    bomb = "\n".join(lines)
    tiers = text_of(document("tier", "to_base")).replace("tiers:\n  - HIGH", "tiers: *h")
    with pytest.raises(
        product.ProductInvalid, match="more than 100000 values, aliases written out"
    ):
        product.parse(f"{bomb}\n{tiers}")


def test_an_alias_is_what_it_stands_for():
    assert product_yaml.load("a: &a [1]\nb: *a") == {"a": [1], "b": [1]}


def test_a_file_that_is_no_document_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (product_yaml.BYTES_MAX + 1))
    with pytest.raises(product.ProductInvalid, match=r"^big\.yaml: more than 1000000 bytes$"):
        product.read(path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        # The database compares versions as 32-bit numbers.
        ("version", "99999999999.0.0", "version: String should match"),
        ("version", "01.0.0", "version: String should match"),
        ("version", "１.0.0", "version: String should match"),
        ("name.en", " ", "column 7: a text must say something"),
        ("name.en", "a\0b", "column 7: a text must say something"),
        ("rules.0.code", "BOUNDS", "rules.0.code: BOUNDS is the line that the bounds make"),
        ("rules.0.code", "WORSENING", "rules.1.code: worsening names another clause too"),
        ("rules.0.code", "cov-2", "rules.0.code: cov-2 names another clause too"),
        ("rules.0.metrics.0.by", "-1e999999", "rules.0.metrics.0.by: Decimal input should have"),
        ("rules.0.metrics.0.by", "-1e-99", "rules.0.metrics.0.by: Decimal input should have"),
        ("rules.2.above_percent", "1e-400", "rules.2.above_percent: "),
        ("rules.3.month_counts_from_percent", "1e-400", "rules.3.month_counts_from_percent: "),
        ("rules.4.percent_by_members_from", {"1" + "0" * 400: "-2"}, "rules.4.percent_by_members"),
        ("eligibility.age_to", 10**30, "eligibility.age_to: "),
    ],
)
def test_values_that_no_product_can_have_are_refused(path, value, words):
    given = document("improvement", "worsening", "loss_ratio", "participation", "group")
    with pytest.raises(product.ProductInvalid) as error:
        parsed(changed(given, path, value))
    assert words in str(error.value)
    assert len(str(error.value)) < 2_000


def test_there_must_be_a_loading_to_take_away():
    given = document("tier", "to_base")
    assert parsed(given).rules[1].code == RULES["to_base"]["code"]
    with pytest.raises(
        product.ProductInvalid, match=r"rules\.1\.returns_to_base: there is no tier"
    ):
        parsed(changed(given, "rules.0.multipliers.HIGH", "1"))
