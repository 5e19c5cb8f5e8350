from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tsnet.cli.folder import Folder
from tsnet.cli.target import AppFailed, find_target, is_asgi
from tsnet.errors import ConfigError

MODULE = """
import flask, fastapi
web = flask.Flask(__name__)
api = fastapi.FastAPI()
class Holder:
    web = web
def make():
    return api
def fails():
    return 1 / 0
text = "no app"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with apps in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "tsnet_test_web.py").write_text(MODULE)
    (tmp_path / "tsnet_test_broken.py").write_text("import tsnet_test_nowhere\n")
    (tmp_path / "tsnet_test_fails.py").write_text("1 / 0\n")
    (tmp_path / "8000").mkdir()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("tsnet_test_")]:
        del sys.modules[name]


def test_apps(folder: Path) -> None:
    web = find_target("tsnet_test_web:web")
    assert (web.kind, web.name) == ("wsgi", "tsnet_test_web")
    assert web.app is sys.modules["tsnet_test_web"].web
    assert find_target("tsnet_test_web:Holder.web").app is web.app
    for name in ("api", "make()"):
        api = find_target(f"tsnet_test_web:{name}")
        assert api.kind == "asgi"
        assert api.app is sys.modules["tsnet_test_web"].api


def test_folders(folder: Path) -> None:
    target = find_target("./8000")
    assert (target.kind, target.name) == ("wsgi", "8000")
    assert isinstance(target.app, Folder)
    assert find_target(".").name == folder.name
    assert find_target("/").name == "files"


def test_ports(folder: Path) -> None:
    assert (find_target("8001").kind, find_target("8001").app) == ("port", 8001)
    assert find_target("127.0.0.1:8001").app == "127.0.0.1:8001"
    assert find_target("127.0.0.1:8001").name == "port-8001"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing-here", "no folder, no port, and no app"),
        ("./nowhere", "no folder, no port, and no app"),
        ("", "no folder, no port, and no app"),
        (":app", "no folder, no port, and no app"),
        ("a-b:app", "no folder, no port, and no app"),
        ("0", "a port is 1 to 65535"),
        ("65536", "a port is 1 to 65535"),
        ("tsnet_test_absent:app", "there is no module 'tsnet_test_absent'"),
        ("tsnet_test_absent.sub:app", "there is no module 'tsnet_test_absent'"),
        ("tsnet_test_web:nothing", "has no 'nothing'"),
        ("tsnet_test_web:text", "cannot be called"),
    ],
)
def test_what_cannot_be_served(text: str, said: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        find_target(text)


def test_the_faults_of_the_apps_module_are_its_own(folder: Path) -> None:
    for text, kind, place in (
        ("tsnet_test_broken:app", ModuleNotFoundError, "tsnet_test_broken.py"),
        ("tsnet_test_fails:app", ZeroDivisionError, "tsnet_test_fails.py"),
        ("tsnet_test_web:fails()", ZeroDivisionError, "tsnet_test_web.py"),
    ):
        with pytest.raises(AppFailed, match=f"{text.partition(':')[0]}.* cannot be loaded: {kind.__name__}") as raised:
            find_target(text)
        cause = raised.value.__cause__
        assert isinstance(cause, kind)
        assert [Path(frame.filename).name for frame in traceback.extract_tb(cause.__traceback__)] == [place]


def test_asgi_is_what_makes_a_coroutine() -> None:
    async def function(scope: Any, receive: Any, send: Any) -> None: ...

    class Async:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    class Plain:
        def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
            return []

    assert is_asgi(function)
    assert is_asgi(Async())
    assert is_asgi(functools.partial(function, 1))
    assert not is_asgi(Plain())
    assert not is_asgi(lambda environ, start_response: [])
