"""A tailnet for the commands, by their environment; they run in this process, or as real ones where that matters."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

ROOT = Path(__file__).parent.parent.parent
Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command that runs in this process sets up the library's log for itself."""
    log = logging.getLogger("tsnet")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """As at a terminal: a shell's background job ignores SIGINT, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def on_tailnet(tailnet: Tailnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tailnet:
    """Commands join it without a word; their home is empty."""
    for name in [name for name in os.environ if name.startswith(("TS_", "TSNET_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TS_CONTROL_URL", tailnet.control_url)
    monkeypatch.setenv("TS_AUTHKEY", tailnet.auth_key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tailnet


@pytest.fixture
def shop(on_tailnet: Tailnet) -> Iterator[tsnet.Server]:
    """A node to talk to."""
    with tsnet.Server("shop", state=MemoryStore(), ephemeral=True) as node:
        yield node


@pytest.fixture
def start(on_tailnet: Tailnet) -> Iterator[Start]:
    """Start `tsnet …` as a process of its own, with pipes."""
    started: list[Process] = []

    def begin(*arguments: str, **options: Any) -> Process:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen([sys.executable, "-m", "tsnet", *arguments], env=environ, **pipes))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
