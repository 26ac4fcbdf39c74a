"""What a wording may be: which values it names, how long it is, what it never says, and whether
it reads easily. No I/O, no clock.

Wordings are Jinja templates, not Fluent messages. The people who write them know the syntax,
`{% if %}` is all the grammar that Chinese and English need here, and Jinja brings one pure
dependency that is in the image already, Fluent three with Babel. Its sandbox alone would not do: a
loop may run for ever, and filters reach attributes. So a template is parsed first, and only
text, values, comparisons with constants, and `if` are allowed; what is left is rendered by the
immutable sandbox.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.nudges.readable import is_readable
from app.texts import Text

TITLE_MAX, BODY_MAX = 80, 1000
"""Characters of a template; SHOWN_MAX those of what a member reads."""
SHOWN_MAX = 300
SENTENCE_MAX = 40
"""Characters of a Chinese sentence, without its values: longer ones are read twice."""
RARE_PERCENT_MAX = 2
"""Characters outside level 1 of GB 2312, the 3,755 that are most used."""

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.If,
    nodes.Compare,
    nodes.Operand,
    nodes.Const,
)
_FORBIDDEN: Mapping[str, Text] = {
    r"https?://|www\.": Text(zh="链接（请使用操作按钮）", en="a link (use the action)"),
    r"[0-9０-９]{7,}": Text(zh="电话或证件号码", en="a number of a phone or document"),
    r"治愈|根治|保证|包治|百分之百|绝对|cure[sd]?\b|guarantee|100 ?%": Text(
        zh="疗效或收益的承诺", en="a promise of effect or gain"
    ),
    r"返现|现金奖励|cash": Text(zh="现金奖励", en="cash"),
    r"您": Text(zh="“您”（统一称“你”）", en="您 (members are addressed as 你)"),
}
_SENTENCE_END = re.compile(r"[。！？；!?;\n]")
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Wording:
    """As it was written."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Fault:
    field: str
    text: Text


class _Environment(ImmutableSandboxedEnvironment):
    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False)
        self.globals.clear()
        self.filters.clear()
        self.tests.clear()


_ENVIRONMENT = _Environment()


def faults(wording: Wording, *, locale: str, samples: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with a wording that may name the values `samples`; empty when nothing is."""
    found = [
        fault
        for field, source, longest in (
            ("title", wording.title, TITLE_MAX),
            ("body", wording.body, BODY_MAX),
        )
        for fault in _source_faults(field, source, longest, samples.keys())
    ]
    if found:
        return found
    shown = render(wording, samples)
    for field, said in (("title", shown.title), ("body", shown.body)):
        found += _said_faults(field, said)
    if locale.lower().startswith("zh"):
        found += _reading_faults(wording)
    return found


def _source_faults(field: str, source: str, longest: int, names: Iterable[str]) -> list[Fault]:
    if not 1 <= len(source.strip()) <= longest:
        return [
            Fault(field, Text(zh=f"须为 1 到 {longest} 个字符", en=f"1 to {longest} characters"))
        ]
    try:
        parsed = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        line = error.lineno
        return [Fault(field, Text(zh=f"第 {line} 行语法有误", en=f"a syntax error in line {line}"))]
    known = set(names)
    for node in parsed.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__
            return [Fault(field, Text(zh=f"不允许使用 {kind}", en=f"{kind} is not allowed"))]
        if isinstance(node, nodes.Name) and node.name not in known:
            listed = ", ".join(sorted(known)) or "-"
            return [
                Fault(
                    field,
                    Text(
                        zh=f"没有变量 {node.name[:40]!r}；可用的有 {listed}",
                        en=f"there is no value {node.name[:40]!r}; there are: {listed}",
                    ),
                )
            ]
    return []


def _said_faults(field: str, said: str) -> list[Fault]:
    found = []
    if not is_readable(said.replace("\n", " ")):
        found.append(Fault(field, Text(zh="没有可读的文字", en="nothing that can be read")))
    if len(said) > SHOWN_MAX:
        found.append(
            Fault(
                field,
                Text(
                    zh=f"显示时有 {len(said)} 个字符，最多 {SHOWN_MAX} 个",
                    en=f"{len(said)} characters when shown, at most {SHOWN_MAX}",
                ),
            )
        )
    for pattern, what in _FORBIDDEN.items():
        if re.search(pattern, said, re.IGNORECASE):
            found.append(
                Fault(field, Text(zh=f"不能包含：{what.zh}", en=f"must not hold {what.en}"))
            )
    return found


def _reading_faults(wording: Wording) -> list[Fault]:
    """Chinese that reads easily: short sentences of common characters."""
    found = []
    plain = re.sub(r"\{[{%].*?[%}]\}", "", wording.body)
    longest = max((len(it.strip()) for it in _SENTENCE_END.split(plain)), default=0)
    if longest > SENTENCE_MAX:
        found.append(
            Fault(
                "body",
                Text(
                    zh=f"最长的一句有 {longest} 个字，最多 {SENTENCE_MAX} 个",
                    en=f"a sentence of {longest} characters, at most {SENTENCE_MAX}",
                ),
            )
        )
    han = _HAN.findall(wording.title + plain)
    rare = sorted({it for it in han if not _is_common(it)})
    count = sum(it in rare for it in han)
    if count * 100 > RARE_PERCENT_MAX * len(han):
        listed = "".join(rare[:10])
        found.append(
            Fault(
                "body",
                Text(zh=f"生僻字太多：{listed}", en=f"too many rare characters: {listed}"),
            )
        )
    if not _HAN.search(wording.body):
        found.append(Fault("body", Text(zh="没有中文", en="nothing in Chinese")))
    return found


def _is_common(character: str) -> bool:
    try:
        return 0xB0 <= character.encode("gb2312")[0] <= 0xD7
    except UnicodeEncodeError:
        return False


def render(wording: Wording, values: Mapping[str, Any]) -> Wording:
    """What a member reads. Raises jinja2.UndefinedError when a value is missing."""
    return Wording(
        _template(wording.title).render(values).strip(),
        _template(wording.body).render(values).strip(),
    )


@lru_cache(maxsize=1024)
def _template(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)
