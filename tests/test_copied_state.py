"""A state directory that was copied, with real processes: noticed while the first one runs, told when it has ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tsnet.edge.io.claim import IS_SUPPORTED
from tsnet.events import StateMoved
from tsnet.testing import Tailnet

ROOT = Path(__file__).parent.parent
RUN = """
import sys, tsnet
with tsnet.Server("shop", state=sys.argv[1]) as node:
    print(node.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


def running(tailnet: Tailnet, place: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "TS_CONTROL_URL": tailnet.control_url, "TS_AUTHKEY": tailnet.auth_key}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(place)],
        env={**environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "shop\n"
    return process


def options(tailnet: Tailnet) -> dict[str, Any]:
    return {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key}


def moved(node: tsnet.Server) -> list[StateMoved]:
    """What the node tells of that while it comes up."""
    with node.events() as events:
        with node:
            pass
        return [event for event in events if isinstance(event, StateMoved)]


@pytest.mark.skipif(not IS_SUPPORTED, reason="abstract Unix sockets are Linux's")
def test_a_copy_does_not_run_beside_the_first_one(
    tailnet: Tailnet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tsnet.Server("shop", state=tmp_path / "first", **options(tailnet)):
        pass
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    first = running(tailnet, tmp_path / "first")
    try:
        copy = tsnet.Server("shop", state=tmp_path / "copy", **options(tailnet))
        with pytest.raises(tsnet.StateInUse) as raised:
            copy.up()
        assert raised.value.pid == first.pid
        assert f"the identity that the state directory {tmp_path / 'copy'} has" in str(raised.value)
    finally:
        first.kill()
        first.communicate()
    again = tsnet.Server("shop", state=tmp_path / "copy", **options(tailnet))
    assert [event.reason for event in moved(again)] == [
        "its state was used last in another directory, from where it was moved or copied: the node must not run there "
        "any more, or the two take each other's traffic"
    ]
    assert caplog.text.count("its state was used last in another directory") == 1
    assert moved(tsnet.Server("shop", state=tmp_path / "copy", **options(tailnet))) == []


def test_a_directory_that_was_renamed_is_the_same(tailnet: Tailnet, tmp_path: Path) -> None:
    with tsnet.Server("box", state=tmp_path / "old", **options(tailnet)):
        pass
    (tmp_path / "old").rename(tmp_path / "new")
    assert moved(tsnet.Server("box", state=tmp_path / "new", **options(tailnet))) == []


@pytest.mark.skipif(not IS_SUPPORTED, reason="abstract Unix sockets are Linux's")
def test_a_node_of_this_process_and_its_copy(tailnet: Tailnet) -> None:
    store = tsnet.MemoryStore()
    with tsnet.Server("twin", state=store, **options(tailnet)):
        twin = tsnet.Server("twin", state=tsnet.MemoryStore(store.values), **options(tailnet))
        with pytest.raises(tsnet.StateInUse, match="Close that node first"):
            twin.up()
    with twin:  # as soon as the first one is closed
        assert twin.status().state == "running"
