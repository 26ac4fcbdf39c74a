"""What a model expected against what happened, where outcomes are known (RSK-7).

Members are followed from their first assessment in which the model applied. Somebody counts
once the whole horizon has passed, whatever happened in it: who fell ill early would else be
counted long before those who stay well. Left out are who had the disease before, who is erased
and who does not consent to the use of health data.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ARRAY, DateTime, Integer, String, bindparam, text

from app.db import Database
from app.errors import RequestFailed
from app.risk import queries, shadow
from app.risk.models import LATEST
from app.risk.models.base import PERCENT, OutcomeKind

_ASCVD = ("I21%", "I22%", "I60%", "I61%", "I63%", "I64%")
_ICD10: dict[OutcomeKind, tuple[str, ...]] = {
    OutcomeKind.HYPERTENSION: ("I10%", "I11%", "I12%", "I13%", "I15%"),
    OutcomeKind.DIABETES: ("E10%", "E11%", "E12%", "E13%", "E14%"),
    # A heart attack or a stroke. Who died of either has no later diagnosis.
    OutcomeKind.CARDIOVASCULAR_DISEASE: _ASCVD,
}
_ICD10_OF_MODEL = {"prevent_base": (*_ASCVD, "I50%")}
"""Where a model's outcome is another one: PREVENT's holds heart failure too."""
_OUTCOMES: dict[tuple[str, int], str] = {
    ("china_par_10y_ascvd", 10): "10y.ascvd",
    ("prevent_base", 10): "10y.total_cvd",
    ("prevent_base", 30): "30y.total_cvd",
    ("score2", 10): "10y.cvd",
    ("score2_asia_pacific", 10): "10y.cvd",
    ("framingham_diabetes_8y", 8): "8y",
    **{("framingham_hypertension", it): f"{it}y" for it in (1, 2, 4)},
}
"""Model and years to the number that is a probability of that horizon."""

# The day of a diagnosis is that of its onset, or else when it was recorded.
_FOLLOWED = text(f"""
select first.expected, coalesce(onset.day <= first.ends_on, false) as happened from (
  select distinct on (a.member_id) a.member_id, cast(a.assessed_at as date) as starts_on,
    cast(a.assessed_at + make_interval(years => :years) as date) as ends_on,
    cast(a.results -> :model -> 'outcomes' ->> :outcome as double precision) as expected
  from risk_assessments a join members m on m.member_id = a.member_id
  where m.erased_at is null and {queries.CONSENTS}
  and a.results -> :model -> 'outcomes' ->> :outcome is not null
  order by a.member_id, a.assessed_at, a.id) first
left join lateral (
  select min(coalesce(c.onset_on, cast(c.recorded_at as date))) as day from (
    select distinct on (c.condition_id) c.* from conditions c
    where c.member_id = first.member_id order by c.condition_id, c.version desc) c
  where not c.retracted and c.icd10 like any(:codes)) onset on true
where (onset.day is null or onset.day > first.starts_on)
and first.ends_on <= cast(:now as date)
order by first.expected
""").bindparams(
    bindparam("model", type_=String),
    bindparam("outcome", type_=String),
    bindparam("codes", type_=ARRAY(String)),
    bindparam("years", type_=Integer),
    bindparam("now", type_=DateTime(timezone=True)),
)


class NotComparable(RequestFailed):
    """The model gives no probability for these years; the text says which there are."""


class Followed(NamedTuple):
    expected: float
    """Percent."""
    happened: bool


@dataclass(frozen=True, slots=True)
class Band:
    """Members of like expectation."""

    members: int
    expected: float
    """Mean, percent."""
    happened: int

    @property
    def observed(self) -> float:
        """Percent."""
        return 100 * self.happened / self.members


@dataclass(frozen=True, slots=True)
class Calibration:
    model: str
    years: int
    bands: Sequence[Band]

    @property
    def members(self) -> int:
        return sum(it.members for it in self.bands)

    @property
    def ratio(self) -> float | None:
        """How many fell ill for each one expected: 1 is right, more than 1 too few expected.
        None when none was expected."""
        expected = sum(it.expected * it.members for it in self.bands) / 100
        return sum(it.happened for it in self.bands) / expected if expected else None


def outcome_of(model: str, years: int) -> str:
    """Raises NotComparable."""
    found = _OUTCOMES.get((model, years))
    if found is not None:
        return found
    given = [f"{code} {it}" for code, it in _OUTCOMES]
    raise NotComparable(f"{model} {years}: no such probability; there are: {', '.join(given)}.")


def banded(followed: Sequence[Followed], bands: int) -> list[Band]:
    """Of equal size, from the lowest expectation up; fewer when there are few members, so that
    none holds fewer than `shadow.SMALL`."""
    ranked = sorted(followed, key=lambda it: it.expected)
    count = min(bands, len(ranked) // shadow.SMALL)
    cuts = [round(place * len(ranked) / count) for place in range(count + 1)] if count else []
    parts = [ranked[start:end] for start, end in itertools.pairwise(cuts)]
    return [
        Band(
            len(part),
            sum(it.expected for it in part) / len(part),
            sum(it.happened for it in part),
        )
        for part in parts
    ]


async def calibrate(
    db: Database, *, model: str, years: int, now: datetime, bands: int = 10
) -> Calibration:
    """Raises NotComparable."""
    outcome = outcome_of(model, years)
    async with db.read() as connection:
        rows = await connection.execute(
            _FOLLOWED,
            {
                "model": model,
                "outcome": outcome,
                "codes": list(_ICD10_OF_MODEL.get(model, _ICD10[LATEST[model].outcome])),
                "years": years,
                "now": now,
            },
        )
        followed = [Followed(*row) for row in rows]
    assert LATEST[model].unit == PERCENT
    return Calibration(model, years, banded(followed, bands))
