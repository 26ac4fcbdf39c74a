"""A back-test as a page of its own, in Chinese or English, and as a table for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.table import Table

from app.premiums import pages
from app.premiums.backtest_report import DIMENSIONS, Document
from app.premiums.pages import Bar
from app.texts import Text

_TITLE = Text(zh="回测", en="Back-test")
_HEADINGS: Mapping[str, Text] = {
    "all": Text(zh="全部", en="Everybody"),
    "year": Text(zh="按保期起始年份", en="By year in which the term began"),
    "tier": Text(zh="按风险等级", en="By risk tier"),
    "segment": Text(zh="按合同类别", en="By kind of contract"),
    "age": Text(zh="按年龄", en="By age"),
    "region": Text(zh="按地区", en="By region"),
    "bands": Text(zh="保费变化（%）", en="Change of premium (%)"),
    "rules": Text(zh="按规则（一年保费中的金额）", en="By rule (amounts of a year's premium)"),
    "dearer": Text(zh="增加最多", en="Who would pay most more"),
    "cheaper": Text(zh="减少最多", en="Who would pay most less"),
    "unpriced": Text(zh="草案无法定价的保期", en="Terms that the draft has no price for"),
    "loss": Text(zh="赔付率（含运营成本，%）", en="Loss ratio with operating cost (%)"),
    "claims": Text(zh="被拒绝的赔付记录", en="Claims that were not taken"),
}
_COLUMNS: Sequence[tuple[str, Text]] = (
    ("group", Text(zh="组", en="Group")),
    ("terms", Text(zh="保期", en="Terms")),
    ("member_years", Text(zh="人年", en="Member-years")),
    ("charged", Text(zh="实收", en="Charged")),
    ("draft", Text(zh="草案", en="Draft")),
    ("change", Text(zh="变化", en="Change")),
    ("change_percent", Text(zh="变化 %", en="Change %")),
    ("dearer", Text(zh="增加", en="Pay more")),
    ("cheaper", Text(zh="减少", en="Pay less")),
    ("more", Text(zh="共增", en="More in sum")),
    ("less", Text(zh="共减", en="Less in sum")),
    ("claims", Text(zh="赔付", en="Claims")),
    ("loss_ratio_charged", Text(zh="赔付率 %（实收）", en="Loss ratio %, charged")),
    ("loss_ratio_draft", Text(zh="赔付率 %（草案）", en="Loss ratio %, draft")),
)
_RULE_COLUMNS: Sequence[tuple[str, Text]] = (
    ("rule", Text(zh="规则", en="Rule")),
    ("charged_terms", Text(zh="保期（实收）", en="Terms, charged")),
    ("charged", Text(zh="金额（实收）", en="Amount, charged")),
    ("draft_terms", Text(zh="保期（草案）", en="Terms, draft")),
    ("draft", Text(zh="金额（草案）", en="Amount, draft")),
)
_EXTREME_COLUMNS: Sequence[tuple[str, Text]] = (
    ("term", Text(zh="保期起始", en="Term from")),
    ("age", Text(zh="年龄", en="Age")),
    ("tier", Text(zh="等级", en="Tier")),
    ("segment", Text(zh="类别", en="Contract")),
    ("charged", Text(zh="实收", en="Charged")),
    ("draft", Text(zh="草案", en="Draft")),
    ("change", Text(zh="变化", en="Change")),
    ("change_percent", Text(zh="变化 %", en="Change %")),
    ("rules", Text(zh="哪些规则", en="By which rules")),
)
_REASONS: Mapping[str, Text] = {
    "MEMBER_UNKNOWN": Text(zh="成员资料已不存在", en="the member is not known any more"),
    "OTHER_CURRENCY": Text(zh="币种与草案不同", en="charged in another currency"),
    "TOO_OLD": Text(zh="超过草案的年龄上限", en="older than the draft takes"),
    "TOO_YOUNG": Text(zh="未到草案的年龄下限", en="younger than the draft takes"),
    "NO_ROW_IN_TABLE": Text(zh="保费表中没有这一年龄", en="no row of the table for the age"),
}
_GREY = Text(zh="灰色：实收；蓝色：草案。", en="Grey: charged; blue: the draft.")


def page(it: Document, locale: str) -> str:
    """One HTML document that needs nothing else."""
    title = f"{_TITLE.to(locale)}: {it['draft']['code']} {it['draft']['version']}"
    return pages.page(title, locale, _sections(it, locale))


def _sections(it: Document, locale: str) -> Iterator[str]:
    yield from (pages.said(text, locale) for text in summary(it))
    has_claims = it["claims"] is not None
    columns = _COLUMNS if has_claims else _COLUMNS[:-3]
    for dimension in DIMENSIONS:
        rows = [row for row in it["groups"] if row["dimension"] == dimension]
        chart = pages.chart([_pair(row, it["currency"]) for row in rows], _HEADINGS[dimension].en)
        parts = [chart, f'<p class="key">{_GREY.to(locale)}</p>', _table(columns, rows, locale)]
        if any(row["loss_ratio_draft"] is not None for row in rows):
            parts.append(f"<p>{_HEADINGS['loss'].to(locale)}</p>")
            parts.append(pages.chart(list(_loss_ratios(rows)), _HEADINGS["loss"].en))
        yield pages.section(_HEADINGS[dimension], locale, parts)
    bands = [Bar(row["change_percent"], [(Decimal(row["terms"]), str(row["terms"]))])
             for row in it["bands"]]  # fmt: skip
    yield pages.section(_HEADINGS["bands"], locale, [pages.chart(bands, _HEADINGS["bands"].en)])
    yield pages.section(_HEADINGS["rules"], locale, [_table(_RULE_COLUMNS, it["rules"], locale)])
    for side in ("dearer", "cheaper"):
        rows = [{**row, "rules": _moved(row["rules"])} for row in it["extremes"][side]]
        columns = _EXTREME_COLUMNS
        if rows and "member_id" in rows[0]:
            columns = (("member_id", Text(zh="成员", en="Member")), *columns)
        yield pages.section(_HEADINGS[side], locale, [_table(columns, rows, locale)])
    if it["unpriced"]["terms"]:
        reasons = [(_REASONS[code].to(locale), str(terms))
                   for code, terms in it["unpriced"]["reasons"].items()]  # fmt: skip
        yield pages.section(_HEADINGS["unpriced"], locale, [pages.table(("", ""), reasons)])
    if has_claims and it["claims"]["rejected"]:
        rejected = [(str(row["line"]), row["reason"]) for row in it["claims"]["rejected"][:200]]
        yield pages.section(_HEADINGS["claims"], locale, [pages.table(("#", ""), rejected)])


def summary(it: Document) -> Iterator[Text]:
    """What was compared, and what is not in it."""
    yield Text(
        zh=f"产品 {it['product']}，{it['from']} 至 {it['to']} 起始的保期：{it['members']} 名成员，"
        f"{it['terms']} 个保期，{it['member_years']} 人年；金额单位 {it['currency']}。",
        en=f"Product {it['product']}, terms that began {it['from']} to {it['to']}: {it['members']} "
        f"members, {it['terms']} terms, {it['member_years']} member-years; amounts in "
        f"{it['currency']}.",
    )
    mean = it["mean_tier_multiplier"]
    if mean is not None:
        actual = mean["actual"] or "-"
        yield Text(
            zh=f"平均等级系数：计划 {mean['planned']}，实际 {actual}。",
            en=f"Mean tier multiplier: planned {mean['planned']}, actual {actual}.",
        )
    lowered = it["lowered_during_the_term"]
    if lowered["terms"]:
        yield Text(
            zh=f"有 {lowered['terms']} 个保期在期中降价，年保费共少 {lowered['amount']}；此处按保期开始时的价格比较。",
            en=f"{lowered['terms']} terms became cheaper during the term, by {lowered['amount']} a "
            "year in sum; compared is the price when the term began.",
        )
    if it["terms_without_stored_premium"]:
        yield Text(
            zh=f"另有 {it['terms_without_stored_premium']} 个保期没有保存定价依据，未纳入。",
            en=f"{it['terms_without_stored_premium']} terms are not in it: what they were priced "
            "from was not kept.",
        )
    if it["unpriced"]["terms"]:
        yield Text(
            zh=f"草案无法为 {it['unpriced']['terms']} 个保期定价，未纳入各组；其年保费共 {it['unpriced']['charged']}，赔付 {it['unpriced']['claims']}。",
            en=f"The draft has no price for {it['unpriced']['terms']} terms, which are in no group: "
            f"charged {it['unpriced']['charged']} a year, claims {it['unpriced']['claims']}.",
        )
    if it["claims"] is not None and it["claims"]["rejected"]:
        count = len(it["claims"]["rejected"])
        yield Text(zh=f"{count} 行赔付记录未被采用。", en=f"{count} rows of claims were not taken.")


def tables(it: Document, locale: str) -> Iterator[Table]:
    """For the terminal."""
    columns = _COLUMNS if it["claims"] is not None else _COLUMNS[:-3]
    found = Table(title=f"{_TITLE.to(locale)}: {it['draft']['code']} {it['draft']['version']}")
    for name, text in columns:
        found.add_column(text.to(locale), justify="left" if name == "group" else "right")
    for row in it["groups"]:
        shown = row if row["dimension"] == "all" else {**row, "group": f"  {row['group']}"}
        found.add_row(
            *(_cell(shown[name]) for name, _ in columns), end_section=_ends_dimension(it, row)
        )
    yield found
    bands = Table(title=_HEADINGS["bands"].to(locale))
    bands.add_column("%")
    bands.add_column(dict(_COLUMNS)["terms"].to(locale), justify="right")
    for row in it["bands"]:
        bands.add_row(row["change_percent"], str(row["terms"]))
    yield bands
    for code, terms in it["unpriced"]["reasons"].items():
        unpriced = Table(title=_HEADINGS["unpriced"].to(locale), show_header=False)
        unpriced.add_row(_REASONS[code].to(locale), str(terms))
        yield unpriced


def _ends_dimension(it: Document, row: Document) -> bool:
    same = [other for other in it["groups"] if other["dimension"] == row["dimension"]]
    return bool(same[-1] is row)


def _table(columns: Sequence[tuple[str, Text]], rows: Sequence[Document], locale: str) -> str:
    return pages.table(
        [text.to(locale) for _, text in columns],
        ([_cell(row[name]) for name, _ in columns] for row in rows),
    )


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _pair(row: Document, currency: str) -> Bar:
    values = [(Decimal(row[name]), f"{Decimal(row[name]):,} {currency}")
              for name in ("charged", "draft")]  # fmt: skip
    return Bar(row["group"], values)


def _loss_ratios(rows: Sequence[Document]) -> Iterator[Bar]:
    for row in rows:
        known = [row["loss_ratio_charged"], row["loss_ratio_draft"]]
        if None not in known:
            yield Bar(row["group"], [(Decimal(it), f"{it} %") for it in known])


def _moved(rules: Mapping[str, str]) -> str:
    return ", ".join(f"{code} {amount}" for code, amount in rules.items())
