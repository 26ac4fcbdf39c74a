"""What no product can say, though each part of its document is well-formed: every fault with
the path of the key that has to change.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.health_tasks import templates
from app.measurements import catalogue
from app.measurements.kinds import Context, TrustGrade
from app.members.rules import ConsentPurpose, Sex
from app.points.programme import programme
from app.premiums import clauses, money, regime
from app.premiums import pricing_rules as kinds
from app.premiums.quote import Section

if TYPE_CHECKING:
    from app.premiums.product import AgeBand, Product

Fault = tuple[str, str]
"""Path, and what is wrong there."""

_ONCE = (
    kinds.TierRule,
    kinds.RegionRule,
    kinds.LossRatioRule,
    kinds.GroupRule,
    kinds.Exit,
    kinds.NonParticipation,
    kinds.MildConditionImprovement,
)
"""Of these kinds a second rule would contradict the first."""

_LOOKS_AT_HEALTH = (
    kinds.TierRule,
    kinds.WindowImprovement,
    kinds.TierChange,
    kinds.Worsening,
    kinds.MildConditionImprovement,
)


def faults(product: "Product") -> list[Fault]:
    return [
        *_of_money(product),
        *_of_table(product),
        *_of_bounds(product),
        *_of_codes(product),
        *_of_tasks(product),
        *_of_rules(product),
        *_of_consents(product),
        *_of_terms(product),
        *((it.path, str(it)) for it in regime.refusals(product)),
    ]


def warnings(product: "Product") -> Iterator[Fault]:
    """What a product may say and somebody should look at."""
    if product.reserve is not None and product.reserve.percent > product.reserve.cap_percent:
        yield (
            "reserve.percent",
            f"{product.reserve.percent} exceeds the market's cap of {product.reserve.cap_percent}",
        )


def _of_money(product: "Product") -> Iterator[Fault]:
    if not money.is_known(product.currency):
        yield "currency", f"{product.currency} is no currency of ISO 4217"
        return
    amounts = [
        (f"base_premium.by_age.{place}.amount", row.amount)
        for place, row in enumerate(product.base_premium.by_age)
    ]
    benefits = product.benefits
    if benefits is not None:
        for name in ("covers", "complication_covers"):
            for place, cover in enumerate(getattr(benefits, name)):
                amounts.append((f"benefits.{name}.{place}.amount", cover.amount))
        if benefits.mild_condition is not None:
            path = "benefits.mild_condition.amount_max"
            amounts.append((path, benefits.mild_condition.amount_max))
    for path, amount in amounts:
        try:
            money.minor(amount, product.currency)
        except ValueError as error:
            yield path, str(error)


def _of_table(product: "Product") -> Iterator[Fault]:
    who = product.eligibility
    if who.age_from > who.age_to:
        yield "eligibility", f"age_from {who.age_from} must not be above age_to {who.age_to}"
    rows = product.base_premium.by_age
    for age in range(who.age_from, who.age_to + 1):
        if not any(row.is_for_everybody and row.age_from <= age <= row.age_to for row in rows):
            yield "base_premium.by_age", f"age {age} is eligible and has no row for everybody"
            break
    for place, row in enumerate(rows):
        if not _is_reached(place, rows):
            yield (
                f"base_premium.by_age.{place}",
                "it is never reached: rows above it fit first, so put it before them",
            )
        if len(set(row.health)) < len(row.health):
            yield f"base_premium.by_age.{place}.health", "a group stands twice"


def _is_reached(place: int, rows: Sequence["AgeBand"]) -> bool:
    """Whether anybody pays this row: by age, sex, and any one of its groups."""
    row = rows[place]
    groups = row.health or (None,)
    return any(
        not any(
            earlier.fits(age=age, sex=sex, health=() if group is None else (group,))
            for earlier in rows[:place]
        )
        for age in range(row.age_from, row.age_to + 1)
        for sex in ([row.sex] if row.sex is not None else Sex)
        for group in groups
    )


def _of_bounds(product: "Product") -> Iterator[Fault]:
    if not product.bounds.percent_min <= 0 <= product.bounds.percent_max:
        yield "bounds", "0 must lie within: without any adjustment the rated base is paid"
    if product.trust_min is TrustGrade.UNVERIFIED:
        yield "trust_min", "UNVERIFIED readings move no premium: HIGH, MEDIUM or LOW"


def _of_codes(product: "Product") -> Iterator[Fault]:
    for path, codes in (
        ("rules", [rule.code for rule in product.rules]),
        ("tasks", [task.template for task in product.tasks]),
        ("entitlements", [it.service for it in product.entitlements]),
        ("consents", [it.purpose for it in product.consents]),
        ("glossary", [it.code for it in product.glossary]),
    ):
        twice = sorted(code for code, times in Counter(codes).items() if times > 1)
        if twice:
            yield path, f"a code stands twice: {', '.join(twice)}"
    yield from _of_clauses(product)
    for kind in _ONCE:
        places = [n for n, rule in enumerate(product.rules) if isinstance(rule, kind)]
        for place in places[1:]:
            yield f"rules.{place}.kind", f"{product.rules[place].kind} stands twice"


def _of_clauses(product: "Product") -> Iterator[Fault]:
    """Members ask for a clause by its code, in capitals or not."""
    named = Counter(it.code.casefold() for it in clauses.of(product))
    for place, rule in enumerate(product.rules):
        if named[rule.code.casefold()] > 1:
            yield f"rules.{place}.code", f"{rule.code} names another clause too"
        if rule.code == Section.BOUNDS:
            yield f"rules.{place}.code", f"{rule.code} is the line that the bounds make"
        if rule.code == Section.OFFER:
            yield f"rules.{place}.code", f"{rule.code} is the line that a renewal offer makes"


def _of_tasks(product: "Product") -> Iterator[Fault]:
    known = templates.published()
    for place, task in enumerate(product.tasks):
        if (task.template, task.template_version) not in known:
            versions = [str(version) for code, version in known if code == task.template]
            allowed = f"its versions are {', '.join(versions)}" if versions else "unknown"
            path = f"tasks.{place}.template"
            yield path, f"{task.template} version {task.template_version}: {allowed}"


def _of_rules(product: "Product") -> Iterator[Fault]:
    loads = any(
        multiplier > 1
        for rule in product.rules
        if isinstance(rule, kinds.TierRule)
        for multiplier in rule.multipliers.values()
    )
    accumulates = any(map(_accumulates, product.rules))
    for place, rule in enumerate(product.rules):
        path = f"rules.{place}"
        for number, metric in enumerate(getattr(rule, "metrics", ())):
            yield from _of_metric(f"{path}.metrics.{number}", metric)
        yield from _of_months(path, rule, term_months=product.term_months)
        match rule:
            case kinds.WindowImprovement(returns_to_base=True) if not loads:
                yield (
                    f"{path}.returns_to_base",
                    "there is no tier rule with a multiplier above 1, whose loading it takes away",
                )
            case kinds.Exit() if not accumulates:
                yield path, "nothing accumulates that an exit could lose"
            case kinds.Worsening(percent=None) if not accumulates:
                yield path, "it does nothing: no percent, and nothing accumulates to be removed"
            case kinds.MildConditionImprovement() if (
                product.benefits is None or product.benefits.mild_condition is None
            ):
                yield path, "it needs benefits.mild_condition, which triggers it"
            case kinds.BenefitFromPoints():
                yield from _of_levels(path, rule)
            case _:
                pass
    yield from _contradictions(product)


def _accumulates(rule: kinds.Rule) -> bool:
    match rule:
        case kinds.WindowImprovement() | kinds.Worsening():
            return rule.percent_at_most is not None
        case kinds.BenefitFromPoints():
            return bool(rule.step_by_level)
        case _:
            return False


def _of_metric(path: str, metric: kinds.MetricChange) -> Iterator[Fault]:
    quantity = catalogue.quantities().get(metric.measurement)
    if quantity is None:
        allowed = ", ".join(catalogue.quantities())
        yield f"{path}.measurement", f"{metric.measurement} is not in the catalogue: {allowed}"
        return
    if metric.unit != quantity.canonical.ucum:
        yield f"{path}.unit", f"{metric.unit} must be {quantity.canonical.ucum}, the canonical one"
    if metric.context is not None and metric.context not in quantity.contexts:
        allowed = ", ".join(it for it in Context if it in quantity.contexts) or "none"
        yield f"{path}.context", f"{metric.context}: {metric.measurement} has {allowed}"
    if metric.by == 0:
        yield f"{path}.by", "0 is no change"


def _of_months(path: str, rule: kinds.Rule, *, term_months: int) -> Iterator[Fault]:
    for name in ("months", "participation_months"):
        months = getattr(rule, name, None)
        if months is None or isinstance(rule, kinds.MildConditionImprovement):
            continue
        if months > term_months:
            yield f"{path}.{name}", f"{months} never closes within a term of {term_months} months"


def _of_levels(path: str, rule: kinds.BenefitFromPoints) -> Iterator[Fault]:
    known = [level.code for level in programme().levels]
    for level in rule.step_by_level:
        if level not in known:
            allowed = ", ".join(known)
            yield f"{path}.step_by_level.{level}", f"no level of the programme: {allowed}"


def _contradictions(product: "Product") -> Iterator[Fault]:
    """A change cannot be an improvement and a worsening."""
    improved = {
        (metric.measurement, metric.by > 0)
        for rule in product.rules
        if isinstance(rule, kinds.WindowImprovement | kinds.MildConditionImprovement)
        for metric in rule.metrics
    }
    for place, rule in enumerate(product.rules):
        named = [(it.measurement, it.context) for it in getattr(rule, "metrics", ())]
        if len(set(named)) < len(named):
            yield f"rules.{place}.metrics", "a measurement stands twice"
        if not isinstance(rule, kinds.Worsening):
            continue
        for number, metric in enumerate(rule.metrics):
            if (metric.measurement, metric.by > 0) in improved:
                yield (
                    f"rules.{place}.metrics.{number}.by",
                    f"{metric.by} is an improvement in another rule",
                )


def _of_consents(product: "Product") -> Iterator[Fault]:
    if any(it.purpose is ConsentPurpose.HEALTH_DATA for it in product.consents):
        return
    for place, rule in enumerate(product.rules):
        if isinstance(rule, _LOOKS_AT_HEALTH):
            yield "consents", f"rules.{place} ({rule.kind}) needs the purpose HEALTH_DATA"
            return
    if any(row.health for row in product.base_premium.by_age):
        yield "consents", "rows for health groups need the purpose HEALTH_DATA"


def _of_terms(product: "Product") -> Iterator[Fault]:
    term_days = product.term_months * 28
    if product.renewal is not None and product.renewal.offer_days_before > term_days:
        yield "renewal.offer_days_before", f"longer than a term of {product.term_months} months"
    if product.cancellation is not None and product.cancellation.days > term_days:
        yield "cancellation.days", f"longer than a term of {product.term_months} months"
    groups = any(isinstance(rule, kinds.GroupRule) for rule in product.rules)
    if groups and product.groups is None:
        yield "groups", "the group rule needs to know what a group is"
    shared = [n for n, it in enumerate(product.entitlements) if it.shared_with_spouse]
    if shared and product.households is None:
        path = f"entitlements.{shared[0]}.shared_with_spouse"
        yield path, "it needs households, which say who shares"
    if product.pilot is not None and len(set(product.pilot.regions)) < len(product.pilot.regions):
        yield "pilot.regions", "a region stands twice"
