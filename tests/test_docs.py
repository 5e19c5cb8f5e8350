"""Every word of the documents that can be wrong: code runs, commands parse, links lead somewhere, names exist."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import logging
import os
import re
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import httpx
import pytest

import tsnet
from tests import documents, issuer
from tests.documents import ALL, PAGES, ROOT, Block
from tests.guests import guest_of
from tests.test_architecture import FLOORS, SOURCES, module_of
from tsnet import errors
from tsnet.server import Server
from tsnet.testing.tailnet import Tailnet

DOCS = ROOT / "docs"
PYTHON = [block for block in ALL if block.tag == "python"]
SHELL = [block for block in ALL if block.tag in ("sh", "console")]
PATIENCE = 20.0


# --- python blocks ----------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tailnet]:
    """A tailnet that `tsnet.Server("shop")` finds by itself, and a place of its own for state."""
    with Tailnet() as tailnet:
        for name in [name for name in os.environ if name.startswith(("TS_", "TSNET_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("TS_CONTROL_URL", tailnet.control_url)
        monkeypatch.setenv("TS_AUTHKEY", tailnet.auth_key)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setattr(sys, "argv", ["block.py"])
        monkeypatch.chdir(tmp_path)
        yield tailnet


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Some blocks set the library's level, which later tests of this process must not meet."""
    log = logging.getLogger("tsnet")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every node that a block makes; those it leaves open are closed."""
    nodes: list[Any] = []

    def recorded(kind: type[Any]) -> type[Any]:
        def init(self: Any, *args: Any, **options: Any) -> None:
            kind.__init__(self, *args, **options)
            nodes.append(self)

        return type(kind.__name__, (kind,), {"__init__": init})

    monkeypatch.setattr(tsnet, "Server", recorded(tsnet.Server), raising=False)
    monkeypatch.setattr(tsnet, "AsyncServer", recorded(tsnet.AsyncServer), raising=False)
    yield nodes
    for node in nodes:
        close(node)


def close(node: Any) -> None:
    if inspect.iscoroutinefunction(node.close):
        anyio.run(node.close)
    else:
        node.close()


@pytest.fixture
def _workload(block: Block, world: Tailnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A job's environment in an auth key's place: a runner that gives ID tokens, a file with one, a client's secret."""
    audience = "api.tailscale.com/YOUR-CLIENT-ID"
    trusted = world.trust_issuer(issuer.ISSUER, audience=audience, jwks=issuer.jwks(), tags=["tag:ci"])
    token = issuer.signed(issuer.claims(time.time(), aud=audience))
    file = tmp_path / "token"
    file.write_text(token)
    monkeypatch.delenv("TS_AUTHKEY")
    monkeypatch.setenv("TAILNET_TOKEN_FILE", str(file))
    by_secret = re.search("client_secret=|oauth_client", block.text) is not None
    if by_secret:
        monkeypatch.setenv("CLIENT_SECRET", world.oauth_client(tags=["tag:ci"]).secret)
    else:
        monkeypatch.setenv("TS_CLIENT_ID", trusted.id)
    if not by_secret and not re.search("audience=|id_token=", block.text):
        monkeypatch.setenv("TS_ID_TOKEN", token)
    with issuer.runner() as url:
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", url)
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "the runner's")
        yield


class Visitor(io.StringIO):
    """What a block prints, read by a person who visits login URLs."""

    def __init__(self, tailnet: Tailnet) -> None:
        super().__init__()
        self._tailnet = tailnet

    def write(self, text: str) -> int:
        if text.startswith(self._tailnet.control_url):
            threading.Thread(target=self._tailnet.approve, args=(text.strip(),)).start()
        return super().write(text)


@contextlib.contextmanager
def neighbours(block: Block, tailnet: Tailnet) -> Iterator[None]:
    """The nodes that the documents take for granted: grafana has a web page, db listens on a port, and both stay."""
    options: dict[str, Any] = guest_of(tailnet)
    with contextlib.ExitStack() as stack:
        if "grafana" in block.text:
            node = stack.enter_context(Server("grafana", **options))
            node.serve_wsgi(all_is_well, block=False)
        if re.search(r"\bdb\b", block.text):
            node = stack.enter_context(Server("db", **options))
            echo(node.listen(5432), stack)
            echo_packets(node.listen_packet(5432), stack)
        yield


def all_is_well(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"all is well"]


def echo(listener: Any, stack: contextlib.ExitStack) -> None:
    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=answer, args=(sock,), daemon=True).start()

    def answer(sock: Any) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(65_536):
                sock.sendall(data)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(listener.close)


def echo_packets(sock: Any, stack: contextlib.ExitStack) -> None:
    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                data, address = sock.recvfrom(65_536)
                sock.sendto(data, address)

    threading.Thread(target=run, daemon=True).start()
    stack.callback(sock.close)


def compiled(block: Block) -> CodeType:
    """Lines as in the page, so that a traceback points there."""
    source = "\n" * (block.line - 1) + block.text
    code: CodeType = compile(source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def execute(block: Block, request: pytest.FixtureRequest) -> None:
    """Run it as a script or a notebook cell; then its tests, with their fixtures."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": "block.py"}
    code = compiled(block)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)
    for name, value in tuple(namespace.items()):
        if name.startswith("test_"):
            arguments = {each: request.getfixturevalue(each) for each in inspect.signature(value).parameters}
            if inspect.iscoroutinefunction(value):
                asyncio.run(value(**arguments))
            else:
                value(**arguments)


def serve_and_visit(block: Block, tailnet: Tailnet, made: list[Any], request: pytest.FixtureRequest) -> None:
    """Run a block that serves until its node is closed; fetch its page from another node; close it."""
    assert block.visits is not None
    url, wanted = block.visits
    raised: list[BaseException] = []

    def run() -> None:
        try:
            execute(block, request)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert wanted in fetch(url, tailnet, thread)
    finally:
        for node in made:
            close(node)
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not raised, raised


def fetch(url: str, tailnet: Tailnet, server: threading.Thread) -> str:
    """The page's text, once the server answers."""
    options: dict[str, Any] = guest_of(tailnet)
    with Server("visitor", **options) as visitor, visitor.httpx_client(timeout=PATIENCE) as client:
        while True:
            try:
                return str(client.get(url).text)
            except (OSError, errors.Error, httpx.TransportError):
                assert server.is_alive(), "the block ended before anybody could visit it"
            server.join(0.01)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(
    block: Block,
    world: Tailnet,
    made: list[Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = Visitor(world) if block.logs_in else io.StringIO()
    if block.logs_in:
        monkeypatch.delenv("TS_AUTHKEY")
    if block.page.name == "ci.md":
        request.getfixturevalue("_workload")
    with neighbours(block, world), contextlib.redirect_stdout(printed):
        if block.visits is not None:
            serve_and_visit(block, world, made, request)
        else:
            execute(block, request)
    if block.prints is not None:
        matches = doctest.OutputChecker().check_output(block.prints, printed.getvalue(), doctest.ELLIPSIS)
        assert matches, f"{block} prints:\n{printed.getvalue()}"


# --- commands ---------------------------------------------------------------------------------------------------

FOREIGN = frozenset({"cd", "curl", "docker", "gunicorn", "headscale", "jupyter", "psql", "pytest", "python", "ssh"}) | {
    "tcpdump",
    "tshark",
}
"""Programs that are not ours and whose arguments nobody checks here."""


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_right(block: Block) -> None:
    for words in documents.commands(block):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["export"]:
            assert re.fullmatch(r"[A-Z_]+=.*", words[1]), words
        elif words[:3] == ["python", "-m", "tsnet"] or words[:1] == ["tsnet"]:
            check_tsnet(words[words.index("tsnet") + 1 :])
        elif words[:1] == ["make"]:
            check_make(words[1:])
        elif words[:1] == ["pip"]:
            check_pip(words[1:])
        elif words:
            assert words[0] in FOREIGN or (ROOT / words[0]).exists(), f"what is {words[0]!r}? See FOREIGN"
            for word in words[1:]:
                assert not word.startswith(("examples/", "tests/")) or (ROOT / word).exists(), word


def check_tsnet(arguments: list[str]) -> None:
    from tsnet.cli.command import parse

    try:
        parse(arguments)
    except SystemExit:
        pytest.fail(f"tsnet {' '.join(arguments)} is no command")


def check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in arguments:
        assert "=" in word or word in targets, f"no target {word}"


def check_pip(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install"
    for word in arguments[1:]:
        if not word.startswith("-"):
            match = re.fullmatch(r"(tsnet-py|\.)(?:\[([\w,]+)\])?", word)
            assert match, f"pip install {word}: not ours"
            assert set((match[2] or "").split(",")) - {""} <= project["optional-dependencies"].keys()


# --- pages ------------------------------------------------------------------------------------------------------


def test_every_block_says_what_it_is() -> None:
    for block in ALL:
        assert block.tag in documents.TAGS, f"{block}: tag {block.tag!r}"
        if block.tag == "toml":
            tomllib.loads(block.text)
        if block.tag == "text":
            code = re.search(r"^(import|from|with|def|async) \w|^\$ |^(make|pip|tsnet) \w", block.text, re.MULTILINE)
            assert not code, f"{block} is code: say python, sh or console"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in documents.links(page):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in documents.anchors(target), f"{page.name}: {link}"


def test_every_page_is_in_the_index() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in documents.links(DOCS / "index.md")}
    assert set(DOCS.glob("**/*.md")) - {DOCS / "index.md"} <= linked


def test_decisions_are_numbered_and_complete() -> None:
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [page.name.partition("-")[0] for page in decisions]
    assert len(numbers) == len(set(numbers)), "two have one number"
    assert all(re.fullmatch(r"\d{4}", number) for number in numbers)
    for page in decisions:
        text = page.read_text(encoding="utf-8")
        for heading in ("Context", "Choice", "What we gave up", "How we would notice that it was wrong"):
            assert f"## {heading}\n" in text, f"{page.name} has no {heading!r}"


def test_every_error_code_has_its_section() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## ([a-z-]+)\n\n`tsnet\.(\w+)`", text, re.MULTILINE))
    classes = {
        value.code: name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.Error)
    }
    assert sections == classes


# --- reference --------------------------------------------------------------------------------------------------


def test_every_option_is_documented() -> None:
    options = [row[0] for row in documents.rows(DOCS / "configuration.md", "## Options")]
    wanted = list(inspect.signature(tsnet.AsyncServer).parameters)
    assert [option.strip("`") for option in options] == wanted


def test_environment_variables_exist() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    documented = [row[0].strip("`") for row in documents.rows(DOCS / "configuration.md", "## Environment variables")]
    read = set(re.findall(r'environ(?:\.get\(|\[)"(TS\w+)"', sources))
    assert read <= set(documented)
    for page in PAGES:
        for name in re.findall(r"\b(?:TS|TSNET)_[A-Z_]+\b", page.read_text(encoding="utf-8")):
            assert name in sources or name in documented or "TSNET_REQUIRE" in name, f"{page.name}: {name}"


def test_public_names_exist() -> None:
    """`tsnet.x`, `node.x(…)` and `tailnet.x(…)` in any page's prose."""
    for page in PAGES:
        for name in documents.names(page):
            if match := re.match(r"(node|tailnet)\.(?!py)(\w+)", name):
                owners: tuple[Any, ...] = (tsnet.Server, tsnet.AsyncServer) if match[1] == "node" else (Tailnet,)
                found = any(hasattr(owner, match[2]) for owner in owners) or match[2] in vars(Tailnet())
                assert found, f"{page.name}: {name}"
            elif match := re.fullmatch(r"tsnet\.([A-Z]\w+)(?:\(.*\))?", name):
                assert hasattr(tsnet, match[1]) or hasattr(errors, match[1]), f"{page.name}: {name}"


# --- the house --------------------------------------------------------------------------------------------------


def test_the_floors_are_those_that_are_checked() -> None:
    rows = documents.rows(DOCS / "architecture.md", "## Floors")
    drawn = {int(number): set(re.findall(r"`([\w.]+)`", rooms)) for number, rooms, *_ in rows}
    checked = {number: set(rooms) for number, rooms in enumerate(FLOORS, 1)}
    existing = {module_of(path) for path in SOURCES}
    for number, rooms in checked.items():
        assert drawn[number] == {room for room in rooms if room in existing}, f"floor {number}"
    assert drawn.keys() == checked.keys()


def test_every_source_file_has_its_line() -> None:
    """Below each heading of a folder, one line for each of its files."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Rooms\n")[2]
    listed: list[str] = []
    folder = ""
    for line in text.splitlines():
        if match := re.match(r"### `(\w+(?:/\w+)*)/`", line):
            folder = match[1]
        elif match := re.match(r"- `([\w/]+\.py)`: \S", line):
            listed.append(f"{folder}/{match[1]}")
    assert len(listed) == len(set(listed))
    written = {str(path.relative_to(ROOT)) for path in SOURCES if path.name not in ("__init__.py", "__main__.py")}
    assert set(listed) == written


def definitions() -> set[str]:
    """`function`, `Class` and `Class.method` of all sources."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {
                    f"{node.name}.{each.name}"
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                }
    return found


@pytest.mark.parametrize("name", ["packet.md", "architecture.md"])
def test_names_in_the_code_exist(name: str) -> None:
    """Files as `tsnet/edge/io/udp.py`, methods as `Node.receive`, functions as `classify()`."""
    known = definitions()
    for text in documents.names(DOCS / name):
        if re.fullmatch(r"(?:tsnet|netstack|tests)/[\w/]+\.py", text):
            assert (ROOT / text).exists(), text
        elif match := re.fullmatch(r"([A-Z]\w+\.\w+|\w+)\(\)|([A-Z]\w+\.[a-z]\w+)", text):
            assert (match[1] or match[2]) in known, text
