"""The floors of docs/architecture.md, checked arrow by arrow; who may do IO; one test file for each source file."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from netstack import errors
from netstack.tcp import states

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("netstack/**/*.py"), *ROOT.glob("tsnet/**/*.py")])

# From the ground up: a room may import rooms of lower floors, and itself. Rooms of one floor are strangers,
# but for the arrows in BETWEEN.
FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(rooms.split())
    for rooms in (
        "netstack tsnet.base tsnet.errors tsnet.config tsnet.prefs",
        "tsnet.netmap tsnet.http1",
        "tsnet.wireguard tsnet.disco tsnet.derp tsnet.control tsnet.dns tsnet.netcheck tsnet.portmap tsnet.lock",
        "tsnet.engine",
        "tsnet.edge.io tsnet.edge.pipes tsnet.edge.run",
        "tsnet.protocols tsnet.events tsnet.streams tsnet.sockets tsnet.status tsnet.netreport",
        "tsnet.adapters",
        "tsnet.base_server tsnet.async_server tsnet.server tsnet tsnet.httpx tsnet.asgi tsnet.wsgi tsnet.forward",
        "tsnet.testing",
        "tsnet.cli tsnet.__main__",
    )
)
BETWEEN = {
    ("tsnet.edge.pipes", "tsnet.edge.io"),
    ("tsnet.edge.run", "tsnet.edge.io"),
    ("tsnet.edge.run", "tsnet.edge.pipes"),
    ("tsnet.errors", "tsnet.base"),
    ("tsnet.config", "tsnet.base"),
    ("tsnet.config", "tsnet.errors"),
    ("tsnet.prefs", "tsnet.base"),
    ("tsnet.prefs", "tsnet.errors"),
    ("tsnet.prefs", "tsnet.config"),
    ("tsnet.streams", "tsnet.protocols"),
    ("tsnet.sockets", "tsnet.protocols"),
    ("tsnet.sockets", "tsnet.streams"),
    ("tsnet.async_server", "tsnet.base_server"),
    ("tsnet.server", "tsnet.base_server"),
    ("tsnet.server", "tsnet.async_server"),
    ("tsnet", "tsnet.async_server"),
    ("tsnet", "tsnet.server"),
    ("tsnet.__main__", "tsnet.cli"),
}
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PURE = frozenset().union(*FLOORS[:4])
IMPURE = frozenset(
    "anyio asyncio trio socket ssl select selectors threading subprocess time datetime random secrets uuid os".split()
)
THIRD_PARTY = {
    "attrs": PURE | {room for rooms in FLOORS for room in rooms if room != "netstack"},
    "cryptography": {"tsnet.base", "tsnet.edge.io", "tsnet.testing"},
    "nacl": {"tsnet.base"},
    "h2": {"tsnet.control"},
    "h11": {"tsnet.control", "tsnet.http1"},
    "hpack": {"tsnet.control"},
    "scapy": frozenset(),
}
# `from tsnet import x` runs the package itself, which must stay cheap; its own imports are lazy.


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """'tsnet.derp.frames' -> 'tsnet.derp'; 'tsnet.edge.io.udp' -> 'tsnet.edge.io'; 'tsnet.Server' -> 'tsnet'."""
    top, _, rest = module.partition(".")
    if top == "netstack":
        return top
    first, _, rest = rest.partition(".")
    if first == "edge":
        first = f"edge.{rest.partition('.')[0]}"
    name = f"{top}.{first}" if first else top
    return name if name in FLOOR_OF else top


def imports(path: Path, *, for_types: bool = False) -> set[str]:
    """Every module the file can import at run time, lazily or not; for_types: those under `if TYPE_CHECKING`, too."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if not for_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                visit(statement)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def may_import(room: str, target: str) -> bool:
    return room == target or FLOOR_OF[target] < FLOOR_OF[room] or (room, target) in BETWEEN


SIDES = ("tsnet.control.client", "tsnet.control.server")


@pytest.mark.parametrize("path", [path for path in SOURCES if "control" in path.relative_to(ROOT).parts], ids=module_of)
def test_the_two_sides_of_control_are_strangers_and_what_they_share_knows_neither(path: Path) -> None:
    own = next((side for side in SIDES if f"{module_of(path)}.".startswith(f"{side}.")), None)
    for name in imports(path, for_types=True):
        assert not any(f"{name}.".startswith(f"{side}.") for side in SIDES if side != own), name


def test_every_room_stands_on_a_floor() -> None:
    rooms = {room_of(module_of(path)) for path in SOURCES}
    assert rooms <= FLOOR_OF.keys()
    for path in SOURCES:  # a new folder or file that no floor names would count as the package itself
        parts = path.relative_to(ROOT).parts
        if parts[0] == "tsnet" and len(parts) > 1 and parts[-1] != "__init__.py":
            name = "tsnet." + ".".join(parts[1 : 3 if parts[1] == "edge" else 2]).removesuffix(".py")
            assert name in FLOOR_OF, f"{name} stands on no floor of tests/test_architecture.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(module_of(path))
    for name in sorted(imports(path)):
        top = name.partition(".")[0]
        if top in {"netstack", "tsnet"}:
            target = room_of(name)
            assert may_import(room, target), f"{room} -> {target}: {name}"
        elif top in IMPURE:
            assert room not in PURE or room == "tsnet.config", f"{room} does IO or reads a clock: {name}"
        elif room == "netstack":
            allowed = top in sys.stdlib_module_names or (top == "numpy" and path.name == "checksum.py")
            assert allowed, f"netstack is standard library only: {name}"
        elif top in THIRD_PARTY:
            assert room in THIRD_PARTY[top] or room == "tsnet.adapters", f"{room} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_keys_are_built_from_entropy_that_is_passed_in(path: Path) -> None:
    if room_of(module_of(path)) in PURE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            banned = isinstance(node, ast.Attribute) and node.attr in {"generate", "urandom", "token_bytes"}
            assert not banned, f"{path}:{getattr(node, 'lineno', 0)} makes its own randomness"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{path.name}:{node.name} is too long"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_modules_say_what_they_are(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sorted(ROOT.glob("netstack/**/*.py")), ids=lambda path: module_of(path))
def test_netstack_knows_nothing_of_what_carries_it(path: Path) -> None:
    found = re.search(
        r"wireguard|tailscale|tailnet|tsnet|derp\b|relay", path.read_text(encoding="utf-8"), re.IGNORECASE
    )
    assert found is None, f"{path}: {found}"


STACK_WORDS = {errors.REFUSED, errors.RESET, errors.TIMEOUT, errors.UNREACHABLE, errors.ABORTED, *states.NAMES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_what_the_stack_says_is_compared_with_its_constants(path: Path) -> None:
    """Error codes and names of states, wherever netstack is imported: a word that is misspelt would never be equal."""
    if room_of(module_of(path)) != "netstack" and not any(name.startswith("netstack") for name in imports(path)):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        compared = isinstance(node, ast.Compare | ast.MatchValue | ast.Set)
        words = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)} if compared else set()
        assert not words & STACK_WORDS, f"{path}:{getattr(node, 'lineno', 0)} compares with {words & STACK_WORDS}"


def is_door(path: Path) -> bool:
    """A package, or a module that hands on names of others and defines nothing itself."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return path.name == "__init__.py" or all(isinstance(each, ast.Expr | ast.ImportFrom) for each in body)


@pytest.mark.parametrize("path", [path for path in SOURCES if not is_door(path)], ids=lambda path: module_of(path))
def test_every_source_file_has_its_test_file(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    inside = parts[1:] if parts[0] == "tsnet" else parts
    assert ROOT.joinpath("tests", *inside[:-1], f"test_{inside[-1].strip('_')}.py").exists()


def test_no_circles_between_files() -> None:
    """Not even for types: two files that name each other cannot be read one after the other."""
    names = {module_of(path): path for path in SOURCES}
    arrows: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = imports(path, for_types=True)
        modules = {found if found in names else found.rpartition(".")[0] for found in targets}
        arrows[name] = {module for module in modules if module in names and module != name}
    state: dict[str, int] = {}

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if state.get(name) == 2 or name.count(".") == 0:
            return
        assert state.get(name) != 1, " -> ".join((*trail, name))
        state[name] = 1
        for target in sorted(arrows[name]):
            walk(target, (*trail, name))
        state[name] = 2

    for name in sorted(names):
        walk(name, ())
