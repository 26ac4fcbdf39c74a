"""What a back-test found, as a plain document: the table, the files and the page are made of it.

Amounts are strings in major units, percentages strings with two decimals, half up.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson

from app.premiums import money, portfolio_rules
from app.premiums.backtest import Progress
from app.premiums.backtest_claims import Claims
from app.premiums.backtest_history import Period
from app.premiums.backtest_tally import (
    AGE_BANDS,
    BANDS,
    NO_TIER,
    Cell,
    Compared,
    Tally,
    age_band,
)
from app.premiums.pricing_rules import TierRule
from app.premiums.product import Product
from app.risk.rulesets import Tier

DIMENSIONS = ("all", "year", "tier", "segment", "age", "region")
_ORDER: Mapping[str, Sequence[str]] = {"tier": (*Tier, NO_TIER), "age": AGE_BANDS}
_HUNDREDTH = Decimal("0.01")
_YEAR_DAYS = Decimal("365.25")
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    draft: Product
    period: Period
    planned_mix: Mapping[Tier, Decimal]
    claims: Claims | None = None
    with_ids: bool = False
    """Members are named by their opaque ids in extremes and examples."""


def document(asked: Asked, found: Progress) -> Document:
    tally, draft = found.tally, asked.draft
    of = _Writer(asked, tally)
    return {
        "draft": {"code": draft.code, "version": draft.version, "hash": draft.hash.hex()},
        "product": asked.period.code,
        "from": asked.period.since.isoformat(),
        "to": asked.period.until.isoformat(),
        "currency": draft.currency,
        "operating_cost_percent": _text(draft.operating_cost_percent),
        "members": found.done,
        "terms": tally.cells["all", "all"].terms,
        "member_years": of.member_years(tally.cells["all", "all"]),
        "terms_before_the_period": tally.outside,
        "terms_without_stored_premium": found.terms_without_premium,
        "lowered_during_the_term": {
            "terms": tally.lowered_terms,
            "amount": of.amount(tally.lowered),
        },
        "mean_tier_multiplier": of.mean_multiplier(),
        "groups": list(of.groups()),
        "bands": [{"change_percent": it, "terms": tally.bands[it]} for it in BANDS],
        "rules": list(of.rules()),
        "extremes": {
            "dearer": [of.extreme(it) for it in tally.dearest],
            "cheaper": [of.extreme(it) for it in tally.cheapest],
        },
        "unpriced": of.unpriced(),
        "claims": of.claims(found),
    }


@dataclass(frozen=True, slots=True)
class _Writer:
    asked: Asked
    tally: Tally

    def amount(self, minor: int) -> str:
        return str(money.major(minor, self.asked.draft.currency))

    def member_years(self, cell: Cell) -> str:
        return str((cell.days / _YEAR_DAYS).quantize(Decimal("0.1"), ROUND_HALF_UP))

    def groups(self) -> Iterator[Document]:
        for dimension in DIMENSIONS:
            names = [group for of, group in self.tally.cells if of == dimension]
            order = _ORDER.get(dimension)
            for group in sorted(names, key=order.index if order else None):
                yield self._group(dimension, group, self.tally.cells[dimension, group])

    def _group(self, dimension: str, group: str, cell: Cell) -> Document:
        claims = self._claims(dimension, group, cell)
        return {
            "dimension": dimension,
            "group": group,
            "terms": cell.terms,
            "member_years": self.member_years(cell),
            "charged": self.amount(cell.charged),
            "draft": self.amount(cell.draft),
            "change": self.amount(cell.draft - cell.charged),
            "change_percent": _percent(cell.draft - cell.charged, cell.charged),
            "dearer": cell.dearer,
            "cheaper": cell.cheaper,
            "same": cell.terms - cell.dearer - cell.cheaper,
            "more": self.amount(cell.more),
            "less": self.amount(cell.less),
            "claims": None if claims is None else self.amount(claims),
            "loss_ratio_charged": self._loss_ratio(claims, cell.charged),
            "loss_ratio_draft": self._loss_ratio(claims, cell.draft),
        }

    def _claims(self, dimension: str, group: str, cell: Cell) -> int | None:
        """None where the file does not tell."""
        claims = self.asked.claims
        if claims is None:
            return None
        if not claims.dimensions:
            return cell.claims
        if dimension == "all":
            return claims.total
        return claims.of_groups[dimension, group] if dimension in claims.dimensions else None

    def _loss_ratio(self, claims: int | None, premium: int) -> str | None:
        """With operating cost, as the draft's percentage of each premium."""
        if claims is None or premium == 0:
            return None
        percent = self.asked.draft.operating_cost_percent or Decimal(0)
        cost = portfolio_rules.share(premium, percent)
        return str(portfolio_rules.loss_ratio(premium, claims=claims, operating_cost=cost))

    def mean_multiplier(self) -> Document | None:
        rule = next((it for it in self.asked.draft.rules if isinstance(it, TierRule)), None)
        if rule is None:
            return None
        counts = {tier: Decimal(self.tally.cells["tier", tier.value].terms) for tier in Tier
                  if ("tier", tier.value) in self.tally.cells}  # fmt: skip
        planned = portfolio_rules.mean_multiplier(rule.multipliers, self.asked.planned_mix)
        actual = portfolio_rules.mean_multiplier(rule.multipliers, counts)
        return {"planned": _text(planned), "actual": _text(actual)}

    def rules(self) -> Iterator[Document]:
        for code, cell in sorted(self.tally.rules.items()):
            yield {
                "rule": code,
                "charged_terms": cell.charged_terms,
                "charged": self.amount(cell.charged),
                "draft_terms": cell.draft_terms,
                "draft": self.amount(cell.draft),
            }

    def extreme(self, it: Compared) -> Document:
        before, after = dict(it.charged_lines), dict(it.draft_lines)
        moved = {code: after.get(code, 0) - before.get(code, 0) for code in {**before, **after}}
        return {
            **({"member_id": it.member} if self.asked.with_ids else {}),
            "term": it.term.starts_on.isoformat()[:7],
            "age": age_band(it.age),
            "tier": it.tier.value if it.tier is not None else NO_TIER,
            "segment": it.segment,
            "charged": self.amount(it.charged),
            "draft": self.amount(it.draft),
            "change": self.amount(it.change),
            "change_percent": _percent(it.change, it.charged),
            "rules": {code: self.amount(moved[code]) for code in sorted(moved) if moved[code]},
        }

    def unpriced(self) -> Document:
        return {
            "terms": self.tally.unpriced.total(),
            "charged": self.amount(self.tally.unpriced_charged),
            "claims": self.amount(self.tally.unpriced_claims),
            "reasons": dict(sorted(self.tally.unpriced.items())),
            "examples": [
                {
                    **({"member_id": it.member} if self.asked.with_ids else {}),
                    "reason": it.reason,
                    "term": it.starts_on.isoformat()[:7],
                    "age": it.age,
                }
                for it in self.tally.examples
            ],
        }

    def claims(self, found: Progress) -> Document | None:
        claims = self.asked.claims
        if claims is None:
            return None
        rejected = sorted([*claims.rejected, *found.rejected], key=lambda it: it.line)
        return {
            "rows": claims.rows,
            "total": self.amount(claims.total),
            "rejected": [{"line": it.line, "reason": it.reason} for it in rejected],
        }


def files(it: Document) -> Iterator[tuple[str, bytes]]:
    """Name and content of what is written besides the pages."""
    yield "backtest.json", orjson.dumps(it, option=orjson.OPT_INDENT_2) + b"\n"
    yield "groups.csv", _csv(it["groups"])
    yield "bands.csv", _csv(it["bands"])
    yield "rules.csv", _csv(it["rules"])
    extremes = [*it["extremes"]["dearer"], *it["extremes"]["cheaper"]]
    yield "extremes.csv", _csv([{**row, "rules": _moved(row["rules"])} for row in extremes])
    reasons = it["unpriced"]["reasons"].items()
    yield "unpriced.csv", _csv([{"reason": reason, "terms": terms} for reason, terms in reasons])
    if it["claims"] is not None:
        yield "rejected-claims.csv", _csv(it["claims"]["rejected"])


def _moved(rules: Mapping[str, str]) -> str:
    return "; ".join(f"{code} {amount}" for code, amount in rules.items())


def _csv(rows: Sequence[Document]) -> bytes:
    """With a mark of UTF-8, which spreadsheets ask for; nothing when there is no row."""
    if not rows:
        return b""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def _percent(part: int, whole: int) -> str | None:
    if whole == 0:
        return None
    return str((Decimal(100 * part) / whole).quantize(_HUNDREDTH, ROUND_HALF_UP))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
