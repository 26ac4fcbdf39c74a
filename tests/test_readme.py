"""What the documentation says is what the code does."""

import re
from enum import Enum
from pathlib import Path

from app.config import Settings
from app.observability import REGISTRY

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """Every setting with its default and its meaning, as Markdown."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default.value if isinstance(field.default, Enum) else field.default
        shown = "" if default is None else f"`{default}`"
        meaning = (field.description or "").replace("|", r"\|")
        assert meaning, f"{name} has no description"
        lines.append(f"| `WELLWARD_{name.upper()}` | {shown} | {meaning} |")
    return "\n".join(lines)


def test_the_table_of_settings_is_complete():
    assert settings_table() in README


def test_every_link_into_the_repository_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_make_target_of_the_table_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", README))
    assert named and named <= targets


def test_operations_explain_every_metric():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    names = {metric.name for metric in REGISTRY.collect()}
    assert len(names) > 5
    assert {name for name in names if f"`{name}" not in page} == set()
