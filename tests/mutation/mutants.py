"""Small mistakes, made on purpose: each mutant is a module with one of them.

Whole modules are mutated, tables and decorated functions included: half of the rules are
tables. Left out are texts for people (docstrings, messages of assertions), annotations and
decorators.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Edit = Callable[[], None]

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}


@dataclass(frozen=True, slots=True)
class Mutant:
    line: int
    text: str
    """The line, as it was, without indentation: survivors are known by it."""
    change: str
    tree: ast.Module


def mutants(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    source = path.read_text("utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    found = [(node.lineno, change, edit) for node, change, edit in _places(tree)]
    for number in sorted(range(len(found)), key=lambda place: found[place][0]):
        changed = copy.deepcopy(tree)
        _, change, edit = list(_places(changed))[number]
        line = found[number][0]
        edit()
        ast.fix_missing_locations(changed)
        yield Mutant(line, lines[line - 1].strip(), change, changed)


def _places(tree: ast.Module) -> "_Places":
    """Where a mistake can be made, which, and how."""
    for node in _nodes(tree):
        yield from _operators(node)
        yield from _conditions(node)
        yield from _values(node)
        yield from _statements(node)


_Places = Iterator[tuple[ast.expr | ast.stmt, str, Edit]]


def _operators(node: ast.AST) -> _Places:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _OPERATORS:
            other = _OPERATORS[type(op)]
            change = f"{type(op).__name__} to {other.__name__}"
            yield node, change, _setting(node, "op", other())
        case ast.BoolOp(op=ast.And()):
            yield node, "and to or", _setting(node, "op", ast.Or())
        case ast.BoolOp(op=ast.Or()):
            yield node, "or to and", _setting(node, "op", ast.And())
        case ast.UnaryOp(op=ast.Not()):
            twice = ast.UnaryOp(op=ast.Not(), operand=node.operand)
            yield node, "not dropped", _setting(node, "operand", twice)
        case ast.UnaryOp(op=ast.USub()):
            yield node, "sign dropped", _setting(node, "op", ast.UAdd())


def _conditions(node: ast.AST) -> _Places:
    match node:
        case ast.If() | ast.IfExp() | ast.While() if not isinstance(node.test, ast.UnaryOp):
            negated = ast.UnaryOp(op=ast.Not(), operand=node.test)
            yield node.test, "condition negated", _setting(node, "test", negated)
        case ast.comprehension(ifs=[_, *_]):
            yield node.ifs[0], "filter dropped", _setting(node, "ifs", [])
        case ast.Match():
            for place, case in enumerate(node.cases[:-1]):
                without = [it for it in node.cases if it is not case]
                change = f"case {place + 1} dropped"
                yield case.body[0], change, _setting(node, "cases", without)


def _values(node: ast.AST) -> _Places:
    match node:
        case ast.Constant():
            yield from _constants(node)
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                nothing = ast.Constant(value=None)
                yield node, "returns None", _setting(node, "value", nothing)
        case ast.Call(func=ast.Name(id=name) as function) if name in _NAMES:
            yield node, f"{name} to {_NAMES[name]}", _setting(function, "id", _NAMES[name])


def _comparisons(node: ast.Compare) -> Iterator[tuple[ast.expr, str, Edit]]:
    for place, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield node, f"{type(op).__name__} to {other.__name__}", _setting(node, "ops", ops)


def _constants(node: ast.Constant) -> Iterator[tuple[ast.expr, str, Edit]]:
    match node.value:
        case bool():
            yield node, f"{node.value} flipped", _setting(node, "value", not node.value)
        case int():
            yield node, f"{node.value} + 1", _setting(node, "value", node.value + 1)
        case str():
            yield node, "text changed", _setting(node, "value", f"{node.value}XX")
        case bytes():
            yield node, "bytes changed", _setting(node, "value", node.value + b"X")


def _statements(node: ast.AST) -> Iterator[tuple[ast.stmt, str, Edit]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if not isinstance(body, list):
            continue
        for place, statement in enumerate(body):
            if _can_go(statement):
                left = [*body[:place], ast.Pass(), *body[place + 1 :]]
                yield statement, "statement dropped", _setting(node, name, left)
            elif isinstance(statement, ast.Continue | ast.Break):
                other = ast.Break() if isinstance(statement, ast.Continue) else ast.Continue()
                left = [*body[:place], other, *body[place + 1 :]]
                yield statement, "continue and break exchanged", _setting(node, name, left)


def _can_go(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant()):
            return False  # a docstring
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Assert():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            return True
    return False


def _setting(node: ast.AST, name: str, value: object) -> Edit:
    return lambda: setattr(node, name, value)


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Those that run, and are not only for people."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        if isinstance(node, ast.Assert) and name == "msg":
            continue
        if isinstance(node, ast.Raise) and name == "exc" and isinstance(value, ast.Call):
            continue  # which exception is for tests to say, its words are for people
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Import | ast.ImportFrom) or _is_docstring(child):
                continue
            if isinstance(child, ast.AST):
                yield from _nodes(child)


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
