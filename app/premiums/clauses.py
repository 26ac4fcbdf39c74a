"""The clauses of a product in plain language, each with an example, and what a word of them
means (TRU-1, TRU-2)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.premiums.documents import Words

if TYPE_CHECKING:
    from app.premiums.product import Product

_BLOCKS = (
    "underwriting",
    "renewal",
    "cancellation",
    "reinstatement",
    "payment",
    "households",
    "groups",
    "reserve",
    "cession",
    "risk_share",
)


@dataclass(frozen=True, slots=True)
class Clause:
    code: str
    """Of a rule as members see it (PRM-4), else what the clause is about: `cancellation`,
    `cover-hospital`, `service-consultation`."""
    label: Words
    explanation: Words
    example: Words | None


@dataclass(frozen=True, slots=True)
class Explained:
    """A clause or a word, and the words of the glossary that stand in it."""

    clause: Clause
    terms: tuple[Clause, ...]


def of(product: "Product") -> Iterator[Clause]:
    """Every clause, in the order of the document."""
    for rule in product.rules:
        yield Clause(rule.code, rule.label, rule.explanation, rule.example)
    for name in _BLOCKS:
        block = getattr(product, name)
        if block is not None:
            code = name.replace("_", "-")
            yield Clause(code, block.label, block.explanation, block.example)
    benefits = product.benefits
    if benefits is not None:
        for it in benefits.covers:
            yield Clause(_hyphened("cover", it.code), it.label, it.explanation, it.example)
        for that in benefits.complication_covers:
            yield Clause(_hyphened("cover", that.code), that.label, that.explanation, that.example)
        if benefits.mild_condition is not None:
            mild = benefits.mild_condition
            yield Clause(mild.code, mild.label, mild.explanation, mild.example)
    for right in product.entitlements:
        code = _hyphened("service", right.service)
        yield Clause(code, right.label, right.explanation, right.example)


def _hyphened(of_what: str, key: str) -> str:
    return f"{of_what}-{key.replace('_', '-')}"


def explain(product: "Product", asked: str) -> Explained | None:
    """The clause of this code or label; else the word of the glossary; else the first clause
    that speaks of it. Upper and lower case are the same. None when nothing does."""
    wanted = asked.strip().casefold()
    if not wanted:
        return None
    found = (
        next((it for it in of(product) if _is_named(it, wanted)), None)
        or next(_terms_named(product, wanted), None)
        or next((it for it in of(product) if _speaks_of(it, wanted)), None)
    )
    if found is None:
        return None
    return Explained(found, tuple(it for it in _terms_in(product, found) if it != found))


def _is_named(clause: Clause, wanted: str) -> bool:
    return wanted in (
        clause.code.casefold(),
        clause.label.zh.casefold(),
        clause.label.en.casefold(),
    )


def _terms_named(product: "Product", wanted: str) -> Iterator[Clause]:
    for term in product.glossary:
        named = Clause(term.code, term.label, term.explanation, term.example)
        words = (*term.keywords.zh, *term.keywords.en)
        if _is_named(named, wanted) or wanted in (word.casefold() for word in words):
            yield named


def _speaks_of(clause: Clause, wanted: str) -> bool:
    return any(
        _stands_in(wanted, words)
        for words in (clause.label, clause.explanation, clause.example)
        if words is not None
    )


def _terms_in(product: "Product", clause: Clause) -> Iterator[Clause]:
    for term in product.glossary:
        words = (*term.keywords.zh, *term.keywords.en)
        if any(_stands_in(word.casefold(), clause.explanation) for word in words):
            yield Clause(term.code, term.label, term.explanation, term.example)


def _stands_in(word: str, words: Words) -> bool:
    """Whole words in English, where `age` does not stand in `average`; `120 %` is one as well."""
    if word in words.zh.casefold():
        return True
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", words.en.casefold()) is not None
