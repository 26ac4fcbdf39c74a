"""`wellward product`: what an author of products types and reads."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import yaml
from pydantic_core import from_json
from sqlalchemy import text
from typer.testing import CliRunner

from app import cli
from app.db import Database
from app.premiums import commands, facts_json, product
from app.premiums.catalogue import PublishedVersionChanged
from app.premiums.facts import (
    Assessed,
    Credit,
    Diagnosed,
    Facts,
    LossRatio,
    MidTerm,
    MildChoice,
    MildCondition,
    Moment,
    MonthOfReadings,
    NoData,
    Participated,
    Series,
)
from app.premiums.rules import Term
from tests.factories import NOON
from tests.product_documents import document

FLEX = Path(__file__).parent / "data" / "products"
ENDING = {"starts_on": "2026-01-01", "ends_on": "2026-12-31"}
CREDIT = {"redemption_id": "r", "amount": 5000, "redeemed_on": "2026-06-01"}
READINGS = {
    "month": "2026-01-01", "readings": 3, "days": 2, "total": "420.10",
    "first_on": "2026-01-02", "last_on": "2026-01-09",
}  # fmt: skip
SYSTOLIC = {"code": "SYSTOLIC_BP", "context": None, "unit": "mm[Hg]", "months": [READINGS]}
GIVEN = {
    "moment": "RENEWAL",
    "as_of": "2026-12-20T00:00:00+08:00",
    "effective_on": "2027-01-01",
    "age": 50,
    "sex": "MALE",
    "ending": ENDING,
    "tier": {"tier": "HIGH", "assessed_at": "2026-12-01T00:00:00Z"},
    "participation": [{"month": "2026-01-01", "percent": 80.5}],
    "series": [SYSTOLIC],
    "carried": {"PRM-6": "-5"},
}


def run(*arguments, code: int = 0):
    answer = CliRunner().invoke(cli.app, ["product", *map(str, arguments)])
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer


def written(tmp_path, content, name="given.yaml") -> Path:
    path = tmp_path / name
    as_text = json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content)
    path.write_text(as_text, encoding="utf-8")
    return path


def test_validate_names_every_fault_of_every_file(tmp_path):
    good = written(tmp_path, document("tier"), "good.yaml")
    bad = written(tmp_path, document("tier") | {"regime": "fixed", "x": 1}, "bad.yaml")
    worse = written(tmp_path, document("exit") | {"currency": "CNX"}, "worse.yaml")
    reserve = {"percent": "16", "cap_percent": "15"} | {
        it: {"zh": "条款", "en": "Clause"} for it in ("label", "explanation")
    }
    dear = written(tmp_path, document() | {"reserve": reserve}, "dear.yaml")
    said = run("validate", good, bad, worse, dear, code=1).output.splitlines()
    assert said[0].startswith("good.yaml: tried 1.0.0 is valid: regime individual, 1 rules")
    assert said[1] == "REFUSED bad.yaml: x: unknown key"
    assert said[2].startswith("REFUSED worse.yaml: currency: CNX is no currency of ISO 4217; ")
    assert "rules.0: nothing accumulates" in said[2]
    assert said[4] == ("WARNING dear.yaml: reserve.percent: 16 exceeds the market's cap of 15")
    run("validate", good)
    said = run("validate", tmp_path / "none.yaml", tmp_path, good, code=1).output.splitlines()
    assert said[:2] == [
        "REFUSED none.yaml: No such file or directory",
        f"REFUSED {tmp_path.name}: Is a directory",
    ]
    assert said[2].startswith("good.yaml: tried 1.0.0 is valid")


def test_price_prints_lines_that_sum_to_the_total(tmp_path):
    facts = written(tmp_path, GIVEN, "facts.json")
    printed = json.loads(
        run("price", product.PRODUCTS / "chronic-care-1.0.0.yaml", "--facts", facts).stdout
    )
    assert (printed["base"], printed["rated_base"]) == ("3000.00", "3600.00")
    assert [(it["rule"], it["amount"]) for it in printed["lines"]] == [
        ("PRM-1", "600.00"),
        ("PRM-6", "-180.00"),
    ]
    assert (printed["total"], printed["adjustment_percent"]) == ("3420.00", "14")
    assert printed["carry"] == {"PRM-6": "-5", "PRM-8": "0"}
    assert {it["rule"] for it in printed["not_applied"]} >= {"PRM-4", "PRM-14"}


@pytest.mark.parametrize(
    ("initial", "levels", "flex", "expected"),
    [
        (
            "thailand",
            "B B S G P P G B B B S S",
            {"B": "bronze", "S": "silver", "G": "gold", "P": "platinum"},
            [10, 8, 7, 8, 10, 12, 13, 11, 9, 7, 6, 5],
        ),
        # From 10 % to the most, 20 %, and back.
        (
            "new-zealand",
            "P P P P P P P B B",
            {"B": "bronze", "P": "platinum"},
            [10, 12, 14, 16, 18, 20, 20, 18, 16],
        ),
    ],
)
def test_published_tables_are_reproduced_year_by_year(tmp_path, initial, levels, flex, expected):
    of = FLEX / f"vitality-{initial}-1.0.0.yaml"
    carried, found = {}, []
    for year, level in enumerate(levels.split()):
        facts = {
            it: GIVEN[it] for it in ("as_of", "age", "sex", "effective_on", "moment", "ending")
        }
        facts |= {"level": flex[level], "carried": carried}
        if year == 0:
            facts |= {"moment": "ENROLMENT", "ending": None}
        path = written(tmp_path, facts, "facts.json")
        printed = json.loads(run("price", of, "--facts", path).stdout)
        carried = printed["carry"]
        found.append(round((1000 - float(printed["total"])) / 10))
    assert found == expected


@pytest.mark.parametrize(
    ("level", "discount"), [("platinum", 12), ("gold", 10), ("silver", 9), ("bronze", 8)]
)
def test_the_second_year_of_new_zealand(tmp_path, level, discount):
    facts = written(tmp_path, GIVEN | {"level": level, "carried": {"flex": "-10"}}, "facts.json")
    of = FLEX / "vitality-new-zealand-1.0.0.yaml"
    printed = json.loads(run("price", of, "--facts", facts).stdout)
    assert printed["adjustment_percent"] == str(-discount)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, "surprise: unknown key"),
        ({"moment": "SOON"}, "moment: Input should be 'ENROLMENT', 'RENEWAL' or 'MID_TERM'"),
        ({"moment": "ENROLMENT"}, "ending: no term ends at ENROLMENT"),
        ({"ending": None}, "ending: the term that ends"),
        ({"moment": "MID_TERM"}, "mid_term: given at MID_TERM, and only then"),
        ({"as_of": "2026-12-20T00:00:00"}, "as_of: an instant with its offset"),
        ({"effective_on": "2027-02-30"}, "effective_on: Input should be a valid date"),
        ({"age": "50"}, "age: Input should be a valid integer"),
        ({"age": 131}, "age: 0 to 130"),
        ({"age": 76}, "76"),
        ({"sex": "OTHER"}, "sex: Input should be"),
        ({"health": ["tall"]}, "health: tall: must be of healthy, pre_chronic"),
        ({"tier": {"tier": "URGENT", "assessed_at": "2026-12-01T00:00:00Z"}}, "tier.tier: Input"),
        ({"participation": [{"month": "2026-01-02", "percent": "1"}]}, "participation.0.month"),
        ({"participation": [{"month": "2025-12-01", "percent": "1"}]}, "closes within the term"),
        ({"participation": [{"month": "2026-01-01", "percent": "101"}]}, "percent: 0 to 100"),
        ({"participation": [{"month": "2026-01-01", "percent": None}]}, "participation.0.no_data"),
        ({"series": [SYSTOLIC, SYSTOLIC]}, "series: one series for each code and context"),
        ({"series": [SYSTOLIC | {"code": "PULSE"}]}, "series.0.code: PULSE is not of"),
        ({"series": [SYSTOLIC | {"unit": "kPa"}]}, "series.0.unit: mm[Hg], the canonical one"),
        ({"series": [SYSTOLIC | {"context": "NOON"}]}, "series.0.context: of SYSTOLIC_BP: FASTING"),
        ({"series": [SYSTOLIC | {"months": [READINGS, READINGS]}]}, "series.0.months: each month"),
        ({"series": [SYSTOLIC | {"months": [READINGS | {"days": 4}]}]}, "days: at least 1, and no"),
        (
            {"series": [SYSTOLIC | {"months": [READINGS | {"last_on": "2026-02-01"}]}]},
            "months.0.first_on: first_on and last_on, in order, in the month",
        ),
        ({"series": [SYSTOLIC | {"months": [READINGS | {"total": "1e30"}]}]}, "months.0.total"),
        ({"carried": {"PRM-6": "-101"}}, "carried.PRM-6: -100 to 100 percent"),
        ({"carried": {"PRM-6": "NaN"}}, "carried.PRM-6: Input should be a finite number"),
        (
            {"credits": [{"redemption_id": "r", "amount": 0, "redeemed_on": "2026-01-01"}]},
            "credits.0.amount: minor units, above 0",
        ),
        (
            {"credits": [{"redemption_id": "r", "amount": 1.5, "redeemed_on": "2026-01-01"}]},
            "credits.0.amount: Input should be a valid integer",
        ),
        ({"group_members": 0}, "group_members: at least 1"),
        ({"health": ["healthy", "diabetes"]}, "health: healthy is in none of the others"),
        ({"effective_on": "2026-12-31"}, "ending.ends_on: before effective_on"),
        ({"ending": ENDING | {"ends_on": "9999-12-31"}}, "ending.ends_on: 1900 to 2199"),
        ({"as_of": "9999-12-31T23:00:00-12:00"}, "as_of: 1900 to 2199"),
        ({"left_on": "2027-01-01"}, "left_on: before effective_on"),
        ({"diagnoses": [{"icd10": "i10", "diagnosed_on": "2026-05-05"}]}, "diagnoses.0.icd10: an"),
        (
            {"mild_conditions": [{"code": "COLD", "triggered_on": "2026-05-05"}]},
            "mild_conditions.0.code: FASTING_GLUCOSE or GRADE_1_HYPERTENSION",
        ),
        ({"credits": [CREDIT, CREDIT]}, "credits: each redemption once"),
        (
            {"series": [SYSTOLIC | {"months": [READINGS | {"readings": 10**7}]}]},
            "readings: at most",
        ),
        (
            {"series": [SYSTOLIC | {"months": [READINGS | {"total": "1e-9999999999"}]}]},
            "series.0.months.0.total: at most 10 decimals",
        ),
        ({"carried": {"PRM-6": "-1e-11"}}, "carried.PRM-6: at most 10 decimals"),
        ({"age": 10**30}, "1000000000000000000000000000000 has more than 18 digits"),
    ],
)
def test_facts_that_nobody_can_have_are_refused_with_their_path(tmp_path, change, words):
    facts = written(tmp_path, GIVEN | change, "facts.json")
    of = product.PRODUCTS / "chronic-care-1.0.0.yaml"
    answer = run("price", of, "--facts", facts, code=2)
    assert words in answer.stderr
    assert answer.stderr.startswith("facts.json: ")
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{", "not a JSON document"),
        ("[]", "facts: Input should be an object"),
        ('{"age": 1, "age": 2}', "age: stands twice"),
        ('{"age": Infinity}', "Infinity is not a number"),
        ("[" * 100_000, "not a JSON document"),
        (b"\xff", "not a JSON document"),
        (" " * 1_000_001, "more than 1000000 bytes"),
    ],
)
def test_what_is_no_json_object_is_refused(given, words):
    with pytest.raises(facts_json.FactsInvalid, match=words):
        facts_json.read(given)


EVERYTHING = Facts(
    moment=Moment.MID_TERM,
    as_of=NOON,
    effective_on=NOON.date(),
    age=50,
    sex="FEMALE",
    region="CN-31",
    health=frozenset({"hypertension", "pre_diabetes"}),
    health_at_start=frozenset({"pre_diabetes"}),
    tier=Assessed("HIGH", NOON, "a1"),
    tier_at_start=Assessed("LOW", NOON),
    ending=Term(NOON.date().replace(year=2025, day=1), NOON.date().replace(day=1)),
    participation=(Participated(NOON.date().replace(year=2025, day=1), None, NoData.PAUSED),),
    series=(),
    diagnoses=(Diagnosed("I10", NOON.date()),),
    mild_conditions=(MildCondition("FASTING_GLUCOSE", NOON.date(), MildChoice.COVER),),
    level="gold",
    credits=(Credit("r1", 5000, NOON.date()),),
    loss_ratio=LossRatio(2025, Decimal("121.5")),
    group_members=10,
    left_on=NOON.date().replace(day=1),
    refuses_upload=True,
    carried={"PRM-6": Decimal("-5.0")},
    offered=280_000,
    mid_term=MidTerm(
        Term(NOON.date().replace(day=2), NOON.date().replace(year=2027, day=1)),
        NOON.date(),
        (
            Series(
                "FASTING_GLUCOSE",
                None,
                "mmol/L",
                (
                    MonthOfReadings(
                        NOON.date().replace(day=1), 2, 2, Decimal("13.10"), *[NOON.date()] * 2
                    ),
                ),
            ),
        ),
    ),
)


def test_facts_are_written_and_read_without_a_loss():
    """Each field is set, so that a new one without a way through JSON shows here."""
    unset = {
        name
        for name, it in Facts.__dataclass_fields__.items()
        if getattr(EVERYTHING, name) == it.default and name != "series"
    }
    assert unset == set()
    document = orjson.loads(facts_json.write(EVERYTHING))
    month = document["mid_term"]["series"][0]["months"][0]
    assert month["total"] == "13.1"
    month |= {"first_on": "2026-03-01", "last_on": "2026-03-02"}
    again = facts_json.read(orjson.dumps(document))
    assert facts_json.read(facts_json.write(again)) == again
    assert facts_json.hashed(facts_json.read(facts_json.write(again))) == facts_json.hashed(again)
    assert set(document) == set(Facts.__dataclass_fields__) - {"series"}


def test_the_same_facts_have_the_same_hash_however_they_are_spelled():
    one = facts_json.read(json.dumps(GIVEN))
    spelled = GIVEN | {
        "as_of": "2026-12-19T16:00:00Z",
        "participation": [{"month": "2026-01-01", "percent": "80.500"}],
        "carried": {"PRM-6": -5},
        "region": None,
        "group_members": None,
    }
    other = facts_json.read(json.dumps(dict(reversed(spelled.items()))))
    assert facts_json.write(one) == facts_json.write(other)
    assert facts_json.hashed(one) == facts_json.hashed(other)
    moved = facts_json.read(json.dumps(spelled | {"carried": {"PRM-6": "-5.01"}}))
    assert facts_json.hashed(moved) != facts_json.hashed(one)


def test_a_number_is_read_exactly():
    """As binary fractions these two would be one."""
    a, b = (
        facts_json.read(json.dumps(GIVEN).replace('"420.10"', it))
        for it in ("420000000.1000000001", "420000000.1")
    )
    assert a.series[0].months[0].total != b.series[0].months[0].total


def test_diff_and_explain_are_for_people(tmp_path):
    before = written(tmp_path, document("tier"), "before.yaml")
    after = written(tmp_path, document("tier") | {"term_months": 6}, "after.yaml")
    assert run("diff", before, after).output == "term_months: 12 -> 6 (-6)\n"
    assert run("diff", before, before).output == "No difference.\n"
    said = run("explain", product.PRODUCTS / "inclusive-1.0.0.yaml", "loss ratio").output
    assert said.startswith("PRM-14: Loss ratio\n  When last year's loss ratio")
    run("explain", before, "nothing of the kind", code=2)


def test_the_schema_for_editors_is_that_of_the_code():
    run("schema", "--check")
    schema = from_json(commands.SCHEMA.read_bytes())
    assert set(schema["properties"]) == set(product.Product.model_fields)
    assert schema["additionalProperties"] is False
    kinds = schema["properties"]["rules"]["items"]["discriminator"]["mapping"]
    assert len(kinds) == 12


async def test_publish_is_for_ever_all_or_none_and_to_a_pilot(
    db: Database, database_url: str, tmp_path, monkeypatch
):
    monkeypatch.setenv("WELLWARD_DATABASE_URL", database_url)
    general = written(tmp_path, document("tier"), "general.yaml")
    pilot = {"regions": ["CN-32"], "members_max": 2000}
    piloted = written(tmp_path, document("tier") | {"version": "1.1.0", "pilot": pilot}, "p.yaml")
    changed = written(tmp_path, document("exit", "improvement"), "changed.yaml")
    new = written(tmp_path, document() | {"version": "2.0.0"}, "new.yaml")

    async def publish(*paths, code=0):
        return await asyncio.to_thread(run, "publish", *paths, code=code)

    async def versions():
        async with db.read() as reading:
            found = await reading.execute(
                text("select version from product_versions where code = 'tried' order by version")
            )
            return list(found.scalars())

    said = (await publish(general, piloted)).output.splitlines()
    assert said == [
        "tried 1.0.0 is published.",
        "tried 1.1.0 is published to a pilot of at most 2000 members in CN-32.",
    ]
    await publish(general)
    assert await versions() == ["1.0.0", "1.1.0"]
    refused = await publish(new, changed, code=1)
    assert isinstance(refused.exception, PublishedVersionChanged)
    assert await versions() == ["1.0.0", "1.1.0"]
    forbidden = written(tmp_path, document("tier") | {"regime": "fixed"}, "forbidden.yaml")
    refused = await publish(new, forbidden, code=1)
    assert isinstance(refused.exception, product.ProductInvalid)
    assert "regime fixed forbids it" in str(refused.exception)
    assert await versions() == ["1.0.0", "1.1.0"]
