"""Requests a second as a picture that needs no program to be drawn: bars in SVG."""

from bench.floors import FLOORS
from bench.results import Found

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 760, 190, 70, 18, 22, 56
_KINDS = (
    ("raw", "raw handler", "#8c959f"),
    ("ours", "wellward", "#1a7f64"),
    ("core", "the same server on graphql-core", "#d4a72c"),
)


def svg(found: Found) -> str:
    """Each server's requests a second as a part of the raw handler's."""
    operations = {name: it for name, it in found.items() if "ratio_raw" in it}
    most = max([1.0, *(it["ratio_raw"] for it in operations.values())])
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    lines: list[str] = []
    y = _TOP
    for name, figures in operations.items():
        parts = {"raw": 1.0, "ours": figures["ratio_raw"]}
        if "ratio_graphql_core" in figures:
            parts["core"] = figures["ratio_raw"] / figures["ratio_graphql_core"]
        shown = [it for it in _KINDS if it[0] in parts]
        lines.append(_text(_LEFT - 12, y + len(shown) * _BAR / 2 + 4, name, anchor="end"))
        for number, (kind, _, colour) in enumerate(shown):
            top = y + number * _BAR
            length = parts[kind] * scale
            label = f"{parts[kind]:.2f}" if kind != "raw" else _rate(figures)
            lines.append(
                f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR - 3}"'
                f' fill="{colour}"/>'
            )
            lines.append(_text(_LEFT + length + 6, top + 12, label, size=11))
        for floor in FLOORS:
            if (floor.operation, floor.figure) == (name, "ratio_raw"):
                at = _LEFT + floor.limit * scale
                lines.append(
                    f'<line x1="{at:.1f}" y1="{y - 4}" x2="{at:.1f}"'
                    f' y2="{y + len(shown) * _BAR + 1}" stroke="#cf222e" stroke-width="1.5"'
                    ' stroke-dasharray="4 3"/>'
                )
        y += len(shown) * _BAR + _GAP
    return _page(lines, y)


def _rate(figures: dict[str, float]) -> str:
    return f"{figures['raw_per_second']:,.0f}/s"


def _page(lines: list[str], height: float) -> str:
    legend = []
    x = _LEFT
    for _, words, colour in _KINDS:
        legend.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{colour}"/>')
        legend.append(_text(x + 18, 24, words, size=12))
        x += 40 + 7 * len(words)
    legend.append(
        f'<line x1="{x}" y1="20" x2="{x + 14}" y2="20" stroke="#cf222e" stroke-width="1.5"'
        ' stroke-dasharray="4 3"/>'
    )
    legend.append(_text(x + 20, 24, "floor", size=12))
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}"'
                f' viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif">'
            ),
            "<title>Requests a second as a part of the raw handler's</title>",
            f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            *legend,
            *lines,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        f' fill="#1f2328">{words}</text>'
    )
