"""Premiums computed again, naively, from a member's whole raw history and the product's plain
document. Written from docs/premium-engine.md; it imports nothing of the programme, keeps no
state between terms, and does everything with fractions, day by day.
"""

from collections.abc import Callable
from datetime import date
from fractions import Fraction

from tests.premium_raw import (
    Answer,
    Document,
    History,
    Reading,
    Year,
    half_away,
    last_of,
    months_closing,
    number,
    plus_months,
    share_of,
    term_of,
)


class Oracle:
    """One product, one history."""

    def __init__(self, document: Document, history: History) -> None:
        self.document, self.history = document, history
        self.rules: list[Document] = document["rules"]
        self.known: dict[tuple[str, str, int], bool] = {}
        self.by_month: dict[tuple[str, str | None, date], list[Reading]] = {}
        for it in history.readings:
            if it.trusted:
                key = it.code, it.context, it.day.replace(day=1)
                self.by_month.setdefault(key, []).append(it)

    # What the readings say

    def values(self, code: str, context: str | None, months: list[date]) -> list[Reading]:
        return [it for month in months for it in self.by_month.get((code, context, month), [])]

    def average(
        self, rule: Document, code: str, context: str | None, months: list[date]
    ) -> Fraction | None:
        found = self.values(code, context, months)
        days = {it.day for it in found}
        if len(found) < rule.get("readings_min", 2) or len(days) < rule.get("days_min", 2):
            return None
        return sum((it.value for it in found), Fraction(0)) / len(found)

    def moved(self, rule: Document, metric: Document, window: list[date], *, run: bool) -> bool:
        contexts = {context for code, context, _ in self.by_month if code == metric["measurement"]}
        if metric.get("context") is not None:
            contexts = {metric["context"]}
        return any(self.moved_in(rule, metric, it, window, run=run) for it in contexts)

    def moved_in(
        self,
        rule: Document,
        metric: Document,
        context: str | None,
        window: list[date],
        *,
        run: bool,
    ) -> bool:
        ends, by, code = rule.get("end_months", 1), number(metric["by"]), metric["measurement"]
        start = self.average(rule, code, context, window[:ends])
        end = self.average(rule, code, context, window[-ends:])
        if start is None or end is None:
            return False
        if (end - start > by) if by < 0 else (end - start < by):
            return False
        for month in window[ends:-ends] if run else []:
            between = self.average(rule, code, context, [month])
            if between is not None and ((between > start) if by < 0 else (between < start)):
                return False
        return True

    def improved(self, rule: Document, window: list[date]) -> bool:
        """`window` is every month that may be looked at; the last ones count."""
        if len(window) < rule["months"]:
            return False
        window = window[-rule["months"] :]
        met = [
            self.moved(rule, it, window, run=rule.get("consecutive", True))
            for it in rule["metrics"]
        ]
        return all(met) if rule.get("needs", "any") == "all" else any(met)

    # What a term showed, for the one after it

    def once(self, what: str, rule: Document, place: int, judge: Callable[[], bool]) -> bool:
        """Only so that ten thousand histories do not take an hour."""
        key = what, rule["code"], place
        if key not in self.known:
            self.known[key] = judge()
        return self.known[key]

    def window_met(self, rule: Document, place: int) -> bool:
        return self.once("window", rule, place, lambda: self.showed_window(rule, place))

    def worsened(self, rule: Document, place: int) -> bool:
        return self.once("worse", rule, place, lambda: self.showed_worsening(rule, place))

    def showed_window(self, rule: Document, place: int) -> bool:
        if place == 0:
            return False
        tiers = rule.get("tiers", [])
        if tiers and self.history.years[place - 1].tier not in tiers:
            return False
        return self.improved(rule, months_closing(*term_of(self.history, self.document, place - 1)))

    def showed_worsening(self, rule: Document, place: int) -> bool:
        if place == 0:
            return False
        first, last = term_of(self.history, self.document, place - 1)
        months = months_closing(first, last)
        window = months[-rule.get("months", 12) :]
        if len(months) >= rule.get("months", 12) and any(
            self.moved(rule, it, window, run=False) for it in rule.get("metrics", [])
        ):
            return True
        days = [
            day
            for icd10, day in self.history.diagnoses
            for listed in rule.get("diagnoses", [])
            if icd10 == listed or icd10.startswith(listed + ".")
        ]
        return bool(days) and first <= min(days) <= last

    def good_months(self, rule: Document, place: int) -> int:
        if place == 0:
            return 0
        months = months_closing(*term_of(self.history, self.document, place - 1))
        least = number(rule["month_counts_from_percent"])
        shares = [self.history.shares.get(month) for month in months]
        return sum(1 for it in shares if it is not None and it >= least)

    # What has been accumulated, from the first term on

    def accumulated(self, rule: Document, place: int) -> Fraction:
        """The rule's percentage in the term of this number."""
        carried = Fraction(0)
        for it in range(place + 1):
            carried = self.next_of(rule, it, carried, is_first=it == 0)
        return carried

    def leaves(self, place: int) -> bool:
        return self.history.years[place].left and any(it["kind"] == "exit" for it in self.rules)

    def next_of(self, rule: Document, place: int, carried: Fraction, *, is_first: bool) -> Fraction:
        gone = self.leaves(place)
        if rule["kind"] == "benefit_from_points":
            level = self.history.years[place].level
            if is_first or gone:
                percent = number(rule.get("initial_percent", 0))
            else:
                percent = carried + number(rule["step_by_level"].get(level, 0))
            if "percent_min" in rule:
                percent = max(percent, number(rule["percent_min"]))
            if "percent_max" in rule:
                percent = min(percent, number(rule["percent_max"]))
            return percent
        if gone:
            carried = Fraction(0)
        worse = any(
            it["kind"] == "worsening"
            and it.get("removes_discounts", True)
            and self.worsened(it, place)
            for it in self.rules
        )
        better = not worse and any(
            it["kind"] == "window_improvement"
            and "percent_at_most" in it
            and self.window_met(it, place)
            for it in self.rules
        )
        if rule["kind"] == "window_improvement":
            if worse:
                return Fraction(0)
            return self.one_more(rule, carried) if self.window_met(rule, place) else carried
        if self.worsened(rule, place):
            return self.one_more(rule, carried)
        return Fraction(0) if better else carried

    def one_more(self, rule: Document, carried: Fraction) -> Fraction:
        percent, most = number(rule["percent"]), number(rule["percent_at_most"])
        if self.document.get("stacking", "additive") == "compound":
            exact = (100 + carried) * (100 + percent) / 100 - 100
            total = Fraction(half_away(exact * 10**10), 10**10)
        else:
            total = carried + percent
        return max(total, most) if most < 0 else min(total, most)

    # The premium

    def price(self, place: int, *, credits: dict[str, int], mid_on: date | None = None) -> Answer:
        """`credits`: what is left of each, by its id. `mid_on`: priced anew during the term."""
        first, _ = term_of(self.history, self.document, place)
        base = self.base_of(first, self.history.years[place])
        lines = self.rated(place, base, mid_on)
        rated = base + sum(amount for _, amount in lines)
        adjusted, cover = self.adjusted(place, rated)
        lines += adjusted
        lines += self.bounded(rated, sum(amount for _, amount in adjusted))
        lines += [
            (it["code"], share_of(rated, number(it["fee_percent"])))
            for it in self.rules
            if it["kind"] == "non_participation" and self.absent(it, place)
        ]
        total = base + sum(amount for _, amount in lines)
        promised = self.history.years[place].offered
        if promised is not None and total > promised:
            lines.append(("OFFER", promised - total))
            total = promised
        for it in self.rules:
            if it["kind"] == "benefit_from_points" and it.get("credit"):
                for _, id, _ in sorted(self.history.credits):
                    paid = min(credits.get(id, 0), total)
                    if paid > 0:
                        lines.append((it["code"], -paid))
                        total -= paid
        return Answer(base, lines, total, cover)

    def base_of(self, day: date, year: Year) -> int:
        born = self.history.born
        age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        for row in self.document["base_premium"]["by_age"]:
            if (
                row["age_from"] <= age <= row["age_to"]
                and row.get("sex", self.history.sex) == self.history.sex
                and (not row.get("health") or set(row["health"]) & year.health)
            ):
                return int(number(row["amount"]) * 100)
        raise LookupError(age)

    def rated(self, place: int, base: int, mid_on: date | None) -> list[tuple[str, int]]:
        year, lines, so_far = self.history.years[place], [], base
        tier_line = 0
        for kind in ("loss_ratio", "group", "region", "tier"):
            for rule in self.rules:
                percent = self.rating(rule, year) if rule["kind"] == kind else None
                if percent is not None:
                    amount = share_of(so_far, percent)
                    lines.append((rule["code"], amount))
                    so_far += amount
                    tier_line = amount if kind == "tier" else tier_line
        for rule in self.rules:
            if rule.get("returns_to_base") and tier_line > 0 and self.back(rule, place, mid_on):
                lines.append((rule["code"], -tier_line))
                tier_line = 0
        return lines

    def back(self, rule: Document, place: int, mid_on: date | None) -> bool:
        if self.window_met(rule, place):
            return True
        if mid_on is None or rule.get("timing") != "mid_term":
            return False
        if rule.get("tiers") and self.history.years[place].tier not in rule["tiers"]:
            return False
        running = months_closing(*term_of(self.history, self.document, place))
        return self.improved(rule, [it for it in running if last_of(it) < mid_on])

    def rating(self, rule: Document, year: Year) -> Fraction | None:
        if rule["kind"] == "loss_ratio" and year.loss_ratio is not None:
            if year.loss_ratio > number(rule["above_percent"]):
                return number(rule["above_change"])
            if year.loss_ratio < number(rule["below_percent"]):
                return number(rule["below_change"])
        if rule["kind"] == "group" and year.group is not None:
            reached = [it for it in rule["percent_by_members_from"] if it <= year.group]
            if reached:
                return number(rule["percent_by_members_from"][max(reached)])
        if rule["kind"] == "region" and self.history.region is not None:
            parts = self.history.region.split("-")
            for length in range(len(parts), 0, -1):
                code = "-".join(parts[:length])
                if code in rule["percent_by_region"]:
                    return number(rule["percent_by_region"][code])
        if rule["kind"] == "tier" and year.tier is not None:
            return (number(rule["multipliers"][year.tier]) - 1) * 100
        return None

    def adjusted(self, place: int, rated: int) -> tuple[list[tuple[str, int]], Fraction]:
        absent = any(
            it["kind"] == "non_participation" and self.absent(it, place) for it in self.rules
        )
        lines: list[tuple[str, int]] = []
        so_far, cover = rated, Fraction(0)
        for rule in self.rules:
            found = self.adjustment(rule, place)
            if found is None:
                continue
            percent, uplift = found
            compound = self.document.get("stacking", "additive") == "compound"
            if absent and percent < 0:
                continue
            amount = share_of(so_far if compound else rated, percent)
            cover += uplift
            lines.append((rule["code"], amount))
            so_far += amount
        return lines, cover

    def adjustment(self, rule: Document, place: int) -> tuple[Fraction, Fraction] | None:
        """Percentage and cover uplift; None: no line."""
        kind, none = rule["kind"], Fraction(0)
        if kind == "window_improvement" and not rule.get("returns_to_base"):
            if "percent_at_most" not in rule:
                return (number(rule["percent"]), none) if self.window_met(rule, place) else None
            percent = self.accumulated(rule, place)
            return (percent, none) if percent else None
        if kind == "participation":
            months = self.good_months(rule, place)
            one, most = number(rule["percent_per_month"]), number(rule["percent_at_most"])
            percent = max(one * months, most) if most < 0 else min(one * months, most)
            return (percent, none) if months else None
        if kind == "tier_change":
            return (number(rule["percent"]), none) if self.tier_fell(rule, place) else None
        if kind == "worsening":
            if "percent_at_most" in rule:
                percent = self.accumulated(rule, place)
                return (percent, none) if percent or self.worsened(rule, place) else None
            return (number(rule.get("percent", 0)), none) if self.worsened(rule, place) else None
        if kind == "mild_condition_improvement":
            return self.mild(rule, place)
        if kind == "exit":
            return (none, none) if self.history.years[place].left else None
        if kind == "benefit_from_points" and rule.get("step_by_level"):
            return self.accumulated(rule, place), none
        return None

    def tier_fell(self, rule: Document, place: int) -> bool:
        order = ["LOW", "MEDIUM", "HIGH"]
        if place == 0 or self.good_months(rule, place) < rule["participation_months"]:
            return False
        before, now = self.history.years[place - 1], self.history.years[place]
        if before.tier is None or now.tier is None:
            return False
        if rule.get("health") and not set(rule["health"]) & before.health:
            return False
        return order.index(now.tier) < order.index(before.tier)

    def mild(self, rule: Document, place: int) -> tuple[Fraction, Fraction] | None:
        if place == 0:
            return None
        first, last = term_of(self.history, self.document, place - 1)
        for _, _, choice, day in sorted(
            (day, code, choice, day) for code, day, choice in self.history.cases
        ):
            window = [plus_months(day.replace(day=1), it) for it in range(rule["months"] + 1)]
            if not first <= last_of(window[-1]) <= last:
                continue
            if any(self.moved(rule, it, window, run=False) for it in rule["metrics"]):
                if choice == "COVER":
                    return Fraction(0), number(rule["cover_uplift_percent"])
                return number(rule["percent"]), Fraction(0)
        return None

    def absent(self, rule: Document, place: int) -> bool:
        if rule.get("counts_refusal") and self.history.years[place].refuses:
            return True
        if place == 0:
            return False
        months = months_closing(*term_of(self.history, self.document, place - 1))
        row = 0
        for month in months:
            row = row + 1 if self.history.shares.get(month) == 0 else 0
            if row >= rule["months"]:
                return True
        return False

    def bounded(self, rated: int, adjustments: int) -> list[tuple[str, int]]:
        bounds = self.document["bounds"]
        low, high = (share_of(rated, number(bounds[it])) for it in ("percent_min", "percent_max"))
        if adjustments < low:
            return [("BOUNDS", low - adjustments)]
        if adjustments > high:
            return [("BOUNDS", high - adjustments)]
        return []
