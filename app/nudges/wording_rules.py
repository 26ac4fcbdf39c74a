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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.nudges import forbidden
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
_ORDERS = ("gt", "gteq", "lt", "lteq")
READINGS_MAX = 64
"""Ways in which the `if`s of a template may turn out together: each of them is checked."""
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
        for fault in _source_faults(field, source, longest, samples)
    ]
    if found:
        return found
    for field, source in (("title", wording.title), ("body", wording.body)):
        found += _said_faults(field, readings(source, samples))
    if locale.lower().startswith("zh"):
        found += _reading_faults(wording)
    return found


def _source_faults(
    field: str, source: str, longest: int, samples: Mapping[str, Any]
) -> list[Fault]:
    if not 1 <= len(source.strip()) <= longest:
        return [
            Fault(field, Text(zh=f"须为 1 到 {longest} 个字符", en=f"1 to {longest} characters"))
        ]
    try:
        parsed = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        line = error.lineno
        return [Fault(field, Text(zh=f"第 {line} 行语法有误", en=f"a syntax error in line {line}"))]
    except RecursionError:
        return [Fault(field, Text(zh="嵌套过深", en="it is nested too deeply"))]
    wrong = _node_fault(parsed, samples)
    if wrong is not None:
        return [Fault(field, wrong)]
    if len(_readings(parsed.body, samples)) > READINGS_MAX:
        return [Fault(field, Text(zh="条件过多", en="there are too many conditions"))]
    return []


def _node_fault(parsed: nodes.Template, samples: Mapping[str, Any]) -> Text | None:
    for node in parsed.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__
            return Text(zh=f"不允许使用 {kind}", en=f"{kind} is not allowed")
        if isinstance(node, nodes.Name) and node.name not in samples:
            listed = ", ".join(sorted(samples)) or "-"
            return Text(
                zh=f"没有变量 {node.name[:40]!r}；可用的有 {listed}",
                en=f"there is no value {node.name[:40]!r}; there are: {listed}",
            )
        if isinstance(node, nodes.Output) and any(
            isinstance(it, nodes.Compare) for it in node.nodes
        ):
            return Text(zh="比较只能用于 if", en="a comparison stands in an `if`")
        if isinstance(node, nodes.Compare) and not _can_be_compared(node, samples):
            return Text(
                zh="只能比较数与数、文字与文字",
                en="numbers are compared with numbers, texts with texts",
            )
    return None


def _can_be_compared(node: nodes.Compare, samples: Mapping[str, Any]) -> bool:
    """What cannot would fail when it is sent, to those of whom the `if` is about."""
    sides = [node.expr, *(it.expr for it in node.ops)]
    if not all(isinstance(it, nodes.Name | nodes.Const) for it in sides):
        return False
    values = [_value(it, samples) for it in sides]
    alike = all(isinstance(it, str) for it in values) or all(
        isinstance(it, int | float) for it in values
    )
    return alike and all(it.op in ("eq", "ne", *_ORDERS) for it in node.ops)


def readings(source: str, samples: Mapping[str, Any]) -> list[str]:
    """All that a template may say, whichever way each `if` turns out; of one without faults."""
    return [it.strip() for it in _readings(_ENVIRONMENT.parse(source).body, samples)]


def _readings(body: Iterable[nodes.Node], samples: Mapping[str, Any]) -> list[str]:
    """No more than one beyond READINGS_MAX."""
    said = [""]
    for node in body:
        if isinstance(node, nodes.If):
            ways = [node.body, *(it.body for it in node.elif_), node.else_]
            pieces = [it for way in ways for it in _readings(way, samples)]
        else:
            assert isinstance(node, nodes.Output)
            pieces = ["".join(_said_by(it, samples) for it in node.nodes)]
        said = [before + piece for before in said for piece in dict.fromkeys(pieces)]
        said = said[: READINGS_MAX + 1]
    return said


def _said_by(node: nodes.Node, samples: Mapping[str, Any]) -> str:
    return node.data if isinstance(node, nodes.TemplateData) else str(_value(node, samples))


def _value(node: nodes.Node, samples: Mapping[str, Any]) -> Any:
    if isinstance(node, nodes.Name):
        return samples[node.name]
    assert isinstance(node, nodes.Const)
    return node.value


def _said_faults(field: str, all_said: Sequence[str]) -> list[Fault]:
    found = []
    if not all(is_readable(it.replace("\n", " " if field == "body" else "\n")) for it in all_said):
        found.append(Fault(field, Text(zh="没有可读的文字", en="nothing that can be read")))
    longest = max(map(len, all_said))
    if longest > SHOWN_MAX:
        found.append(
            Fault(
                field,
                Text(
                    zh=f"显示时有 {longest} 个字符，最多 {SHOWN_MAX} 个",
                    en=f"{longest} characters when shown, at most {SHOWN_MAX}",
                ),
            )
        )
    held = {kind for said in all_said for kind in forbidden.found_in(said)}
    for kind in forbidden.Forbidden:
        if kind in held:
            what = forbidden.WHAT[kind]
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
