"""What a cover would cost: for a member who asks, or for facts that somebody gives. Nothing is
stored."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlmodel import select

from app.errors import RequestFailed
from app.premiums import catalogue, engine, facts_json, gathering
from app.premiums.facts import Facts, Moment
from app.premiums.gathering import Asked
from app.premiums.models import ProductVersion
from app.premiums.product import Product
from app.premiums.quote import Priced


class QuoteInvalid(RequestFailed):
    """Names the argument at fault and what is allowed."""

    code = "VALUE_OUT_OF_RANGE"


@dataclass(frozen=True, slots=True)
class Quoted:
    product: Product
    facts: Facts
    priced: Priced


async def for_member(
    reading: Any, *, member_id: UUID, code: str, version: str | None, starts_on: date, now: datetime
) -> Quoted:
    """A new cover from `starts_on`, from what is known of the member now. Raises QuoteInvalid."""
    product = await version_of(reading, code, version)
    asked = Asked(member_id, product, Moment.ENROLMENT, now, starts_on)
    [facts] = await gathering.gather(reading, [asked])
    if facts is None:
        raise QuoteInvalid("`memberId` names nobody.")
    return _priced(product, facts)


async def for_facts(reading: Any, *, text: str, code: str, version: str | None) -> Quoted:
    """Raises QuoteInvalid, with the path that is at fault in the facts."""
    product = await version_of(reading, code, version)
    try:
        facts = facts_json.read(text)
    except facts_json.FactsInvalid as error:
        raise QuoteInvalid(f"`facts`: {error}") from error
    return _priced(product, facts)


def _priced(product: Product, facts: Facts) -> Quoted:
    eligible = product.eligibility
    if not eligible.age_from <= facts.age <= eligible.age_to:
        raise QuoteInvalid(
            f"The product takes members from {eligible.age_from} to {eligible.age_to} years."
        )
    try:
        return Quoted(product, facts, engine.price(product, facts))
    except engine.NoPremium as error:
        raise QuoteInvalid(str(error)) from error


async def version_of(reading: Any, code: str, version: str | None) -> Product:
    """A published version, the highest without one. Raises QuoteInvalid."""
    rows = (
        await reading.execute(
            select(ProductVersion.id, ProductVersion.version).where(ProductVersion.code == code)
        )
    ).all()
    known = sorted(rows, key=lambda row: [int(part) for part in row.version.split(".")])
    found = [row for row in known if version in (None, row.version)]
    if not known:
        raise QuoteInvalid(f"`productCode` is {code[:40]!r}, which is no product.")
    if not found:
        versions = ", ".join(row.version for row in known)
        raise QuoteInvalid(f"`version` is {version!r:.40}; it must be one of {versions}.")
    id = found[-1].id
    return (await catalogue.products(reading, [id]))[id]
