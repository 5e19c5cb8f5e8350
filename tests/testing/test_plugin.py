from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.testing import Tailnet

ROOT = Path(__file__).parent.parent.parent
PROBE = """
import asyncio, sys, pytest, tsnet
from tsnet.edge.io.store import MemoryStore

seen = []

def options(tailnet):
    seen.append(tailnet.control_url)
    return dict(control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(), ephemeral=True)

def test_blocking(tailnet):
    with tsnet.Server("one", **options(tailnet)) as node:
        assert list(tailnet.nodes()) == ["one"]

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_anyio(tailnet, anyio_backend):
    async with tsnet.AsyncServer("two", **options(tailnet)):
        assert list(tailnet.nodes()) == ["two"]

@pytest.mark.asyncio
async def test_pytest_asyncio(tailnet):
    async with tsnet.AsyncServer("three", **options(tailnet)):
        assert list(tailnet.nodes()) == ["three"]

def test_each_had_its_own():
    assert len(set(seen)) == 4
"""


def pytest_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(entry.value == "tsnet.testing.plugin" for entry in entry_points(group="pytest11"))


def test_a_fresh_tailnet_for_each_test_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "test_probe.py").write_text(PROBE)
    plugin = [] if is_installed() else ["-p", "tsnet.testing.plugin"]
    done = pytest_of(tmp_path, *plugin, "-W", "ignore::pytest.PytestDeprecationWarning")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_who_does_not_ask_pays_nothing() -> None:
    code = (
        "import pytest, sys, tsnet.testing.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith(('tsnet', 'netstack', 'nacl', 'cryptography'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "['tsnet', 'tsnet.testing', 'tsnet.testing.plugin']\n"


def test_nodes_join_and_leave(tailnet: Tailnet) -> None:
    with tsnet.Server(
        "one", control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=MemoryStore(), ephemeral=True
    ):
        assert tailnet.online() == {"one"}
    assert isinstance(tailnet, Tailnet)


def test_the_package_tells_what_it_does_not_have() -> None:
    import tsnet.testing

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = tsnet.testing.Nothing
