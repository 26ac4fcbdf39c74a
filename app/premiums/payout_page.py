"""The public payout report (TRU-5) as a page: what came in, what was paid, who carried it."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from app.premiums import pages
from app.premiums.pages import Bar
from app.premiums.payouts import Published
from app.texts import Text

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_TITLE = Text(zh="年度赔付报告", en="Annual payout report")
_NONE = Text(zh="还没有已确认的年度。", en="No year has been confirmed yet.")
_TOO_SMALL = Text(
    zh="这一年参保人数太少，不公布数字，以免涉及个人。",
    en="Too few people were insured in this year: numbers would tell about somebody.",
)
_LEFT_OUT = Text(zh="未公布", en="not published")
_AGE = Text(zh="年龄", en="Age")
_PERSONS = Text(zh="参保人数", en="Persons insured")
_SPENT = {
    "HEALTH_SERVICE": Text(zh="健康服务", en="health services"),
    "EARLY_INTERVENTION": Text(zh="早期干预", en="early intervention"),
}


def page(years: Sequence[Published], locale: str) -> str:
    """All products and years, one HTML document."""
    return pages.page(_TITLE.to(locale), locale, _sections(years, locale))


def _sections(years: Sequence[Published], locale: str) -> Iterator[str]:
    if not years:
        yield pages.said(_NONE, locale)
    for code in dict.fromkeys(it.product_code for it in years):
        of_product = [it for it in years if it.product_code == code]
        if len(shown := [it for it in of_product if "loss_ratio_percent" in it.numbers]) > 1:
            yield _ratios(shown, locale)
        for it in of_product:
            yield _year(it, locale)
    yield pages.said(_small(years), locale)


def _small(years: Sequence[Published]) -> Text:
    least = max((it.numbers["cell_min"] for it in years), default=10)
    return Text(
        zh=f"只有合计数字；少于 {least} 人的组不公布，必要时再隐去一组，使其无法从合计推出。",
        en=f"Sums only. Groups of fewer than {least} persons are not published, nor is one more "
        "group where the total would tell it.",
    )


def _ratios(years: Sequence[Published], locale: str) -> str:
    bars = [
        Bar(str(it.year), [(Decimal(it.numbers["loss_ratio_percent"]),
                            f"{it.numbers['loss_ratio_percent']} %")])
        for it in reversed(years)
    ]  # fmt: skip
    name = _name(years[0])
    heading = Text(zh=f"{name.zh}：各年赔付率", en=f"{name.en}: loss ratio by year")
    return pages.section(heading, locale, [pages.chart(bars, heading.to(locale))])


def _name(it: Published) -> Text:
    return Text(zh=it.numbers["name"]["zh"], en=it.numbers["name"]["en"])


def _year(it: Published, locale: str) -> str:
    name = _name(it)
    heading = Text(zh=f"{name.zh} {it.year} 年", en=f"{name.en}, {it.year}")
    if it.numbers.get("too_small"):
        return pages.section(heading, locale, [pages.said(_TOO_SMALL, locale)])
    rows = [(label.to(locale), value) for label, value in _rows(it.numbers, locale)]
    ages = [
        (band, _LEFT_OUT.to(locale) if members is None else f"{members:,}")
        for band, members in it.numbers["ages"].items()
    ]
    parts = [
        pages.said(_sentence(it.numbers), locale),
        pages.table(("", it.numbers["currency"]), rows),
        pages.table((_AGE.to(locale), _PERSONS.to(locale)), ages),
        pages.said(_confirmed(it), locale),
    ]
    return pages.section(heading, locale, parts)


def _sentence(numbers: dict[str, Any]) -> Text:
    members, claims, premium = numbers["members"], _money(numbers["claims"]), _money(numbers["premium"])  # fmt: skip
    return Text(
        zh=f"{members:,} 人参保，保费 {premium}，赔付 {claims}；含运营成本的赔付率为 {numbers['loss_ratio_percent']}%。",
        en=f"{members:,} persons were insured. Of {premium} of premium {claims} was paid for "
        f"claims; with operating cost that is a loss ratio of {numbers['loss_ratio_percent']} %.",
    )


def _rows(numbers: dict[str, Any], locale: str) -> Iterator[tuple[Text, str]]:
    yield Text(zh="保费收入", en="Premium earned"), _money(numbers["premium"])
    yield Text(zh="赔付", en="Claims"), _money(numbers["claims"])
    benefit = numbers["benefit"]
    paid = _LEFT_OUT.to(locale) if benefit["paid"] is None else _money(benefit["paid"])
    yield Text(zh="其中轻症津贴", en="Of that for mild conditions"), paid
    yield Text(zh="运营成本", en="Operating cost"), _money(numbers["operating_cost"])
    yield Text(zh="赔付率", en="Loss ratio"), f"{numbers['loss_ratio_percent']} %"
    if numbers["next_year_percent"] is not None:
        change = Decimal(numbers["next_year_percent"])
        yield Text(zh="下一年保费表", en="Next year's table"), f"{change:+f} %"
    yield from _of_reserve(numbers["reserve"])
    burden = numbers["burden"]
    yield Text(zh="分保承担", en="Carried by cession"), _money(burden["ceded"])
    yield Text(zh="超额损失", en="Excess loss"), _money(burden["excess"])
    for party in burden["parties"]:
        share = f"{party['percent']} %"
        label = Text(zh=f"{party['name']['zh']}承担 {share}", en=f"{party['name']['en']}, {share}")
        yield label, _money(party["amount"])


def _of_reserve(reserve: dict[str, Any] | None) -> Iterator[tuple[Text, str]]:
    if reserve is None:
        return
    percent = f"{reserve['percent']} %"
    label = Text(zh=f"预防金（保费的 {percent}）", en=f"Set aside for prevention ({percent})")
    yield label, _money(reserve["set_aside"])
    for purpose, amount in reserve["spent"].items():
        spent = _SPENT[purpose]
        yield Text(zh=f"用于{spent.zh}", en=f"Spent on {spent.en}"), _money(amount)


def _confirmed(it: Published) -> Text:
    day = it.confirmed_at.date().isoformat()
    return Text(zh=f"{day} 由两人确认。", en=f"Confirmed by two people on {day}.")


def _money(amount: str) -> str:
    return f"{Decimal(amount):,}"
