"""Facts, effects, events, TSMP: wherever they are told apart, all of them are named, and every fact is heard.

A `match` over one of these unions ends in `assert_never`, so that mypy finds the place where a new class is forgotten.
It may instead hand what is left to a function of the same file that ends so. A chain of `isinstance` has no such end:
two classes of one union, tested on the same value, are a `match`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, SOURCES, module_of

VOCABULARIES = {module_of(path): path for path in SOURCES if path.name == "facts.py"}
LINKS, TSMP = "tsnet.base.links", "tsnet.engine.tsmp"

Names = dict[str, str]
"""What a file calls a class or a module, and what it is: "told" and "tsnet.control.client.facts"."""


def classes_of(module: str) -> set[str]:
    """The classes that one of the module's unions lists, as "tsnet.control.client.facts.LoginUrl"."""
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    unions = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp)]
    listed = {name.id for union in unions for name in ast.walk(union) if isinstance(name, ast.Name)}
    return {f"{module}.{name}" for name in listed & defined}


FACTS = frozenset().union(*map(classes_of, VOCABULARIES))
TOLD_APART = FACTS | classes_of(LINKS) | classes_of(TSMP)


def names_of(tree: ast.Module) -> Names:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}


def meant(node: ast.expr, names: Names) -> str:
    """What a name or `module.name` stands for, "" if it is neither."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{names.get(node.value.id, '')}.{node.attr}"
    return ""


def told_apart(match: ast.Match, names: Names) -> set[str]:
    """The classes of facts, effects and events that the cases name."""
    patterns = (node for case in match.cases for node in ast.walk(case.pattern))
    return {meant(node.cls, names) for node in patterns if isinstance(node, ast.MatchClass)} & TOLD_APART


def is_exhaustive(match: ast.Match, tree: ast.Module) -> bool:
    last = match.cases[-1]
    if ast.unparse(last.pattern) != "_" or last.guard is not None or len(last.body) != 1:
        return False
    call = last.body[0].value if isinstance(last.body[0], ast.Expr | ast.Return) else None
    if not isinstance(call, ast.Call):
        return False
    if ast.unparse(call) == f"assert_never({ast.unparse(match.subject)})":
        return True
    if ast.unparse(match.subject) not in map(ast.unparse, call.args):
        return False
    return any(is_exhaustive(inner, tree) for inner in matches_in(function_called(call, tree)))


def function_called(call: ast.Call, tree: ast.Module) -> ast.AST:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    return next(functions, ast.Pass())


def matches_in(tree: ast.AST) -> Iterator[ast.Match]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Match))


def chains(tree: ast.Module, names: Names) -> list[tuple[int, set[str]]]:
    """(line, classes) of every if … elif chain that tells classes of TOLD_APART apart by `isinstance` or `type`."""
    conditional = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    inner = {id(node.orelse[0]) for node in conditional if len(node.orelse) == 1}
    return [
        (node.lineno, {meant(part, names) for part in conditions(node)} & TOLD_APART)
        for node in conditional
        if id(node) not in inner
    ]


def conditions(chain: ast.If) -> Iterator[ast.expr]:
    """The expressions in the conditions of a chain that ask for a class."""
    rest: list[ast.stmt] = [chain]
    while len(rest) == 1 and isinstance(rest[0], ast.If):
        test = ast.unparse(rest[0].test)
        if "isinstance(" in test or "type(" in test:
            yield from (part for part in ast.walk(rest[0].test) if isinstance(part, ast.expr))
        rest = rest[0].orelse


def faults(text: str) -> list[str]:
    tree = ast.parse(text)
    names = names_of(tree)
    open_ends = [match for match in matches_in(tree) if told_apart(match, names) and not is_exhaustive(match, tree)]
    return [f"line {match.lineno}: a match that does not end in assert_never" for match in open_ends] + [
        f"line {line}: tells {sorted(classes)} apart without a match"
        for line, classes in chains(tree, names)
        if len(classes) > 1
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_what_is_told_apart_is_told_apart_to_the_end(path: Path) -> None:
    assert not faults(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", VOCABULARIES)
def test_every_fact_is_heard(module: str) -> None:
    heard: set[str] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = names_of(tree)
        heard.update(*(told_apart(match, names) for match in matches_in(tree)))
    assert classes_of(module), "a union of its facts is missing"
    assert not classes_of(module) - heard, "nobody does anything about these, or says why not"


HEAD = "from tsnet.base.links import Close, Data, Open\nfrom tsnet.control.client import facts as told\n"


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("match effect:\n    case Data(): pass\n    case _: assert_never(effect)", 0),
        ("match effect:\n    case Data(): pass", 1),
        ("match effect:\n    case Data(): pass\n    case _: pass", 1),
        ("match effect:\n    case Data(): pass\n    case _ if late: assert_never(effect)", 1),
        ("match fact:\n    case told.LoggedIn(user): pass\n    case _: hear(fact)", 1),
        (
            "match fact:\n    case told.LoggedIn(): pass\n    case _: hear(fact)\n"
            "def hear(fact):\n    match fact:\n        case told.LoggedOut(): pass\n        case _: assert_never(fact)",
            0,
        ),
        ("if isinstance(effect, Data): pass\nelif isinstance(effect, Close): pass", 1),
        ("if type(effect) is Data: pass\nelif type(effect) is Open: pass", 1),
        ("if isinstance(effect, Data): pass\nelse: pass", 0),
        ("match state:\n    case 1: pass", 0),
    ],
)
def test_the_reader_finds_what_it_looks_for(body: str, count: int) -> None:
    assert len(faults(HEAD + body)) == count


ROOMS = ("control.client", "derp", "engine", "portmap", "wireguard")


def test_the_vocabularies_are_those_that_there_are() -> None:
    assert set(VOCABULARIES) == {f"tsnet.{room}.facts" for room in ROOMS}
    assert {"tsnet.base.links.Open", "tsnet.engine.tsmp.Rejected"} <= TOLD_APART
    assert "tsnet.control.client.facts.LoggedIn" in FACTS
