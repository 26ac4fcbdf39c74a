"""Parts of pages of numbers: no scripts, nothing from elsewhere, all text escaped.

Charts are inline SVG; each number in a chart is also in a table beside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape

from app.texts import Text

STYLE = """
body { font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
p { margin: 0.25rem 0 0.75rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.5rem 0; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #d0d0d0; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { background: #f2f2f2; }
svg { width: 100%; height: auto; } text { font-size: 12px; fill: #333; }
.a { fill: #8a8a8a; } .b { fill: #1769aa; } .key { font-size: 0.85rem; color: #555; }
@media print { body { margin: 0; } section { break-inside: avoid; } }
"""
_WIDTH, _LABEL, _VALUE, _BAR, _GAP = 720, 150, 150, 14, 10


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart: a label, and a bar for each series, with the text at its end."""

    label: str
    values: Sequence[tuple[Decimal, str]]
    """Not negative."""


def page(title: str, locale: str, sections: Iterable[str]) -> str:
    """One HTML document."""
    language = "zh-CN" if is_chinese(locale) else "en"
    body = "\n".join(sections)
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def is_chinese(locale: str) -> bool:
    return locale[:2].lower() == "zh"


def section(heading: Text, locale: str, parts: Iterable[str]) -> str:
    return f"<section><h2>{escape(heading.to(locale))}</h2>\n{''.join(parts)}</section>"


def said(text: Text, locale: str) -> str:
    return f"<p>{escape(text.to(locale))}</p>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(it)}</th>" for it in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def chart(bars: Sequence[Bar], label: str) -> str:
    """Horizontal bars, the first series grey, the second blue; nothing without a bar."""
    if not bars:
        return ""
    greatest = max((value for bar in bars for value, _ in bar.values), default=Decimal(0))
    scale = (_WIDTH - _LABEL - _VALUE) / (greatest or Decimal(1))
    parts, y = [], 4
    for bar in bars:
        middle = y + len(bar.values) * _BAR / 2 + 4
        parts.append(
            f'<text x="{_LABEL - 8}" y="{middle:.0f}" text-anchor="end">{escape(bar.label)}</text>'
        )
        for (value, text), series in zip(bar.values, _series(bar), strict=True):
            width = value * scale
            parts.append(
                f'<rect class="{series}" x="{_LABEL}" y="{y}" width="{width:.1f}" '
                f'height="{_BAR - 2}"/>'
                f'<text x="{_LABEL + width + 6:.1f}" y="{y + 10}">{escape(text)}</text>'
            )
            y += _BAR
        y += _GAP
    return (
        f'<svg viewBox="0 0 {_WIDTH} {y}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _series(bar: Bar) -> Sequence[str]:
    return ("b",) if len(bar.values) == 1 else ("a", "b")
