"""The changes that are made to a module: one place, one small change each."""

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

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
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_NOT_MUTATED = ("annotation", "returns", "decorator_list", "type_params")
"""Fields of nodes that are never changed: they hold no behaviour of their own."""


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        path: of the module, relative to the project.
        line: of the change, from 1.
        operator: the kind of change.
        before: the changed expression or statement.
        after: what it was changed to.
        source: the text of the whole changed module.
    """

    path: str
    line: int
    operator: str
    before: str
    after: str
    source: str

    @property
    def id(self) -> str:
        """Identifies the mutant as long as its module stays the same."""
        return hashlib.sha256(f"{self.path}\n{self.source}".encode()).hexdigest()[:16]


_Step = tuple[str, int | None]
"""The name of a field, and the place in its list if it has one."""


@dataclass(frozen=True)
class Site:
    """Where a module can be changed, and how; much cheaper than the mutant itself.

    Attributes:
        path: of the module, relative to the project.
        steps: from the module's tree to the node.
        change: the number of the change among those of the node.
    """

    path: str
    steps: tuple[_Step, ...]
    change: int


def sites(path: str, source: str) -> list[Site]:
    """Returns all changes that can be made to a module, in the order of its text."""
    tree = ast.parse(source)
    return [
        Site(path, steps, change) for steps in _places(tree, ()) for change, _ in enumerate(_changes(_at(tree, steps)))
    ]


def mutate(site: Site, source: str) -> Mutant:
    """Returns the mutant of a site; `source` is the text of its module."""
    tree = ast.parse(source)
    node = _at(tree, site.steps)
    operator, after = list(_changes(node))[site.change]
    before, text, line = ast.unparse(node)[:120], ast.unparse(after)[:120], int(getattr(node, "lineno", 1))
    changed = ast.fix_missing_locations(_replaced(tree, site.steps, after))
    return Mutant(site.path, line, operator, before, text, ast.unparse(changed) + "\n")


def _places(node: ast.AST, at: tuple[_Step, ...]) -> Iterator[tuple[_Step, ...]]:
    """Returns where the nodes that may be changed are, outside of annotations, docstrings and type checking."""
    if isinstance(node, ast.expr | ast.stmt) and not _is_for_types(node):
        yield at
    for name, value in ast.iter_fields(node):
        if name in _NOT_MUTATED or isinstance(node, ast.JoinedStr | ast.Assert) or _is_for_types(node):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield from _places(child, (*at, (name, place)))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _at(tree: ast.AST, places: tuple[_Step, ...]) -> ast.AST:
    node = tree
    for name, place in places:
        value = getattr(node, name)
        node = value if place is None else value[place]
    return node


def _replaced(tree: ast.AST, places: tuple[_Step, ...], new: ast.AST) -> ast.AST:
    """Puts another node at a place of the tree; returns the tree."""
    parent, (name, place) = _at(tree, places[:-1]), places[-1]
    if place is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[place] = new
    return tree


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Returns each change of a node: the kind of change and the new node."""
    if isinstance(node, ast.Compare):
        for place, comparison in enumerate(node.ops):
            new = copy.copy(node)
            new.ops = [*node.ops[:place], _COMPARISONS[type(comparison)](), *node.ops[place + 1 :]]
            yield "comparison", new
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", ast.BoolOp(other, node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC and not _is_text(node):
        arithmetic = copy.copy(node)
        arithmetic.op = _ARITHMETIC[type(node.op)]()
        yield "arithmetic", arithmetic
    elif isinstance(node, ast.Constant):
        yield from _constant_changes(node)
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        negated = copy.copy(node)
        negated.test = ast.UnaryOp(ast.Not(), node.test)
        yield "condition", negated
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return", ast.Return(ast.Constant(None))
    if isinstance(node, ast.Raise | ast.AugAssign | ast.Break | ast.Continue) or _is_call(node):
        yield "statement", ast.Pass()


def _constant_changes(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield "constant", ast.Constant(node.value + 1)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    """Tells whether an addition joins texts: taking away a text is an error in any test that runs it."""
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )
