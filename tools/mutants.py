"""Small changes of a module that its tests should notice.

A mutant replaces one piece of the source: another comparison or sign, ``min`` for ``max``, a number
plus one, a negated condition, a statement left out, ``None`` returned. What cannot or need not
matter stays: texts, log lines, errors' messages, annotations, signatures, decorators, what stands
outside of functions (settings and measured choices), large numbers (sizes of blocks and buffers).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

LARGEST_NUMBER = 16
_TEXTS = {"__repr__", "__str__"}
_MESSAGES = {"print", "warn", "debug", "info", "warning", "error", "exception"}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change of a text."""

    kind: str
    """What is changed."""
    line: int
    """Where, from 1."""
    start: int
    """Offset of the first byte that goes."""
    end: int
    """Offset behind the last."""
    old: str
    """What goes."""
    new: str
    """What comes."""

    def apply(self, source: str) -> str:
        """Return ``source`` with the change."""
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


def find_mutants(source: str) -> list[Mutant]:
    """Return every change of ``source`` that its tests should notice."""
    return list(_Finder(source).find(ast.parse(source), in_function=False))


class _Finder:
    def __init__(self, source: str) -> None:
        self._lines = source.encode().splitlines(keepends=True)
        self._data = source.encode()
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def find(self, node: ast.AST, *, in_function: bool) -> Iterator[Mutant]:
        if in_function:
            yield from self._changes(node)
        for child in _worth_a_look(node):
            inside = in_function or isinstance(node, ast.FunctionDef)
            yield from self.find(child, in_function=inside)

    def _changes(self, node: ast.AST) -> Iterator[Mutant]:
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                yield self._expression("condition", test, ast.UnaryOp(ast.Not(), test))
            case ast.comprehension(ifs=[test, *_]):
                yield self._expression("condition", test, ast.UnaryOp(ast.Not(), test))
            case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
                yield self._expression("return", value, ast.Constant(None))
            case ast.Expr(value=ast.Call(func=function)) if not _is_message(function):
                yield self._change("statement", node, "pass")
            case ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
                yield self._change("statement", node, "pass")
            case ast.expr() if changed := _other_value(node):
                yield self._expression(changed[0], node, changed[1])
            case _:
                pass

    def _expression(self, kind: str, node: ast.expr, new: ast.expr) -> Mutant:
        return self._change(kind, node, f"({ast.unparse(ast.fix_missing_locations(new))})")

    def _change(self, kind: str, node: ast.expr | ast.stmt, new: str) -> Mutant:
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        old = " ".join(self._data[start:end].decode().split())
        return Mutant(kind, node.lineno, start, end, old, new)


def _other_value(node: ast.expr) -> tuple[str, ast.expr] | None:
    """Return the kind of a change of an expression, and what it becomes."""
    match node:
        case ast.Compare(left, [first, *rest], right) if type(first) in _COMPARISONS:
            return "comparison", ast.Compare(left, [_COMPARISONS[type(first)](), *rest], right)
        case ast.BinOp(left, op, right) if not _is_text(left, right) and type(op) in _OPERATORS:
            return "arithmetic", ast.BinOp(left, _OPERATORS[type(op)](), right)
        case ast.BoolOp(op, values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            return "and, or", ast.BoolOp(other, values)
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            return "sign", operand
        case ast.Constant(bool(value)):
            return "constant", ast.Constant(not value)
        case ast.Constant(int(value) | float(value)) if abs(value) <= LARGEST_NUMBER:
            return "constant", ast.Constant(value + 1)
        case ast.Call(ast.Name(name), arguments, keywords) if name in _FUNCTIONS:
            return "min, max", ast.Call(ast.Name(_FUNCTIONS[name]), arguments, keywords)
        case _:
            return None


def _worth_a_look(node: ast.AST) -> Iterator[ast.AST]:
    """Return the parts of ``node`` in which a change may matter."""
    match node:
        case ast.FunctionDef(name=name, body=body):
            if name not in _TEXTS:
                yield from body
        case ast.ClassDef(body=body) | ast.Module(body=body):
            yield from (one for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef))
        case ast.AnnAssign(value=ast.expr() as value):
            yield value
        case ast.Raise() | ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom():
            pass
        case ast.Expr(value=ast.Constant()) | ast.AnnAssign():
            pass
        case ast.Expr(value=ast.Call(func=function)) if _is_message(function):
            pass
        case ast.keyword(arg="help" | "description"):
            pass
        case _:
            yield from ast.iter_child_nodes(node)


def _is_text(*operands: ast.expr) -> bool:
    return any(
        isinstance(one, ast.JoinedStr)
        or (isinstance(one, ast.Constant) and isinstance(one.value, str | bytes))
        for one in operands
    )


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_message(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in _MESSAGES
