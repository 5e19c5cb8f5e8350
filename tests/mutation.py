"""Are the tests any good? One small fault at a time is put into the stack, and some test has to notice.

    python -m tests.mutation [--sample N] [--seed S] [--floor PERCENT] [FILE OR FOLDER ...]

    source ── ast ──> mutants: one node changed each (OPERATORS below)
    mutant ── fork ──> an import hook gives the changed module; no file is touched
           ── pytest -x in rounds: the test file of that source, those beside it, the rest and the script player
    killed: a test failed │ timed out: a test hung, or too much time was used in all │ survived: nobody noticed

A mutant that timed out was noticed too, and counts in the percentage. Exit 1 below the floor. The sample follows from
its seed; without --sample every mutant is tried, which takes hours.

Not here: whether a survivor is a gap or means the same as the original. That takes a reader.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType, ModuleType
from typing import Any

import hypothesis
import pytest

SOURCES = ("netstack/tcp", "netstack/wire")
ALSO = ("tests/scripts/test_scripts.py",)
LEFT_OUT = {"test_grid.py", "test_linux_matrix.py", "test_linux_tun.py"}  # minutes, or root
TEST_SECONDS = 10.0  # of the processor, as on a busy machine a good test may take long; ten times that by the clock
MUTANT_SECONDS = 240
MEMORY = 2 << 30
TIMEOUTS = {signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL}

SWAPS: dict[type[ast.AST], type[Any]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult},
    **{ast.Mod: ast.FloorDiv, ast.LShift: ast.RShift, ast.RShift: ast.LShift},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd},
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
NOT_CODE = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True, slots=True)
class Mutant:
    path: Path
    line: int
    kind: str
    before: str
    after: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.before}  ->  {self.after}"


def mutants(path: Path) -> Iterator[Mutant]:
    """Every mutant of one file, in the order of its text."""
    tree = ast.parse(path.read_text(), str(path))
    for holder, field, at, shown in _places(tree):
        node = getattr(holder, field) if at is None else getattr(holder, field)[at]
        before = _text(shown)
        for kind, new in _operators(node):
            _put(holder, field, at, ast.fix_missing_locations(ast.copy_location(new, node)))
            after = _text(new if shown is node else shown)
            yield Mutant(path, getattr(shown, "lineno", 0), kind, before, after, compile(tree, str(path), "exec"))
            _put(holder, field, at, node)


def _places(holder: ast.AST, around: ast.AST | None = None) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Each place of a node, with the node to show to a reader: an operator or a bound alone says too little."""
    if isinstance(holder, ast.expr | ast.Assign | ast.AugAssign | ast.Return) and not isinstance(holder, ast.Slice):
        around = holder
    elif not isinstance(holder, ast.Slice | ast.keyword):
        around = None
    for field, value in ast.iter_fields(holder):
        if field in NOT_CODE or (isinstance(holder, ast.Assign) and _is_slots(holder)):
            continue
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST):
                yield holder, field, at, around or node
                yield from _places(node, around)


def _is_slots(node: ast.Assign) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id.startswith("__")


def _put(holder: ast.AST, field: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(holder, field, node)
    else:
        getattr(holder, field)[at] = node


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:120]


def _operators(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of node instead, each with the kind of the change."""
    if type(node) in SWAPS:
        yield f"{type(node).__name__} to {SWAPS[type(node)].__name__}", SWAPS[type(node)]()
    match node:
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "constant", ast.Constant(value + 1)
            yield "constant", ast.Constant(value - 1)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield "sign or not removed", operand
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield f"{name} to {NAMES[name]}", ast.Name(NAMES[name], ast.Load())
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return None", ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield "statement deleted", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):  # not a local: without it nothing would run
            yield "statement deleted", ast.Pass()


def sample(everything: list[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """That many of them, or all; the same ones for the same seed."""
    return everything if size is None or size >= len(everything) else Random(seed).sample(everything, size)


class Mutated(importlib.machinery.SourceFileLoader):
    """The import hook, finder and loader in one: one module comes from the mutant's code."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        super().__init__(".".join(mutant.path.with_suffix("").parts), str(mutant.path.resolve()))

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> Any:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return self._mutant.code


class Hurry:
    """A pytest plugin: a test that hangs ends the process."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, TEST_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, 10 * TEST_SECONDS)


def test_files(path: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The test file of a source file; those beside it; then the others that may notice."""
    mirror = Path("tests", *path.parent.parts, f"test_{path.name}")
    others = sorted({*Path("tests", path.parts[0]).rglob("test_*.py"), *map(Path, ALSO)} - {mirror})
    others = [other for other in others if other.exists() and other.name not in LEFT_OUT]
    beside = [other for other in others if other.parent == mirror.parent]
    return [mirror] if mirror.exists() else [], beside, [other for other in others if other not in beside]


def preload(package: str) -> None:
    """Import once, before any fork, what the tests compare with: it takes long, and has nothing that is mutated."""
    if Path("tests", package, "oracle.py").exists():
        importlib.import_module(f"tests.{package}.oracle")
    assert not any(name.split(".")[0] == package for name in sys.modules), "no mutant of it would be seen"


def outcome(mutant: Mutant | None, *rounds: Sequence[Path]) -> str:
    """killed, survived or timed out, found in a child process that ends with the answer. No mutant: as it is."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _try(mutant, rounds)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in TIMEOUTS:
        return "timed out"
    return "killed" if status else "survived"


def _try(mutant: Mutant | None, rounds: Sequence[Sequence[Path]]) -> None:
    """In the child: never returns. Only the tests of what is not mutated may write."""
    status = 1
    with contextlib.suppress(BaseException):
        for signum in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(signum, signal.SIG_DFL)
        Hurry().pytest_runtest_logstart()
        resource.setrlimit(resource.RLIMIT_CPU, (MUTANT_SECONDS, MUTANT_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if mutant is not None:
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            sys.meta_path.insert(0, Mutated(mutant))
        hypothesis.settings.register_profile("mutants", database=None, derandomize=True)
        hypothesis.settings.load_profile("mutants")
        plugins = ("cacheprovider", "xdist", "tsnet")
        options = ["-x", "-q", "--noconftest", "--tb=no", "-m", "not slow and not interop"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is here already, to save time
        options += ["--timeout", "0"]  # Hurry instead
        options += [word for plugin in plugins for word in ("-p", f"no:{plugin}")]
        fine = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        status = int(not all(pytest.main([*options, *map(str, r)], [Hurry()]) in fine for r in rounds if r))
    os._exit(status)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Put faults in; count who notices.")
    parser.add_argument("--sample", type=int, metavar="N", help="try N mutants, not all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--floor", type=float, default=80.0, metavar="PERCENT", help="exit 1 below it")
    parser.add_argument("paths", nargs="*", type=Path, default=[Path(source) for source in SOURCES])
    options = parser.parse_args(arguments)
    sys.path[0] = str(Path.cwd())  # as a script, our own folder would stand for the package of that name

    files = sorted(file for path in options.paths for file in (path.rglob("*.py") if path.is_dir() else [path]))
    everything = [mutant for file in files for mutant in mutants(file)]
    chosen = sample(everything, options.sample, options.seed)
    for package in {mutant.path.parts[0] for mutant in chosen}:
        preload(package)
    if not chosen or outcome(None, *test_files(chosen[0].path)) != "survived":
        print("no mutants, or the tests fail without one")
        return 2
    print(f"{len(chosen)} of {len(everything)} mutants, seed {options.seed}", flush=True)
    counts: Counter[str] = Counter()
    for mutant in chosen:
        answer = outcome(mutant, *test_files(mutant.path))
        counts[answer] += 1
        if answer == "survived":
            print(f"SURVIVED {mutant}", flush=True)
    percent = 100 * (len(chosen) - counts["survived"]) / len(chosen)
    killed, survived, timed_out = counts["killed"], counts["survived"], counts["timed out"]
    print(f"{killed} killed, {survived} survived, {timed_out} timed out: {percent:.1f} %")
    return int(percent < options.floor)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
