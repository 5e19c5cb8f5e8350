"""A real disk that is full, or read-only: a node that runs goes on and saves later, a new one does not join.

The disk is a tmpfs of 64 KiB in a mount namespace of its own; nobody else sees it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
BEGIN = """
import json, os, pathlib, subprocess, sys, threading, time
import tsnet, tsnet.events
from tsnet.edge.io.directory import DirectoryStore
from tsnet.testing.tailnet import Tailnet
disk = pathlib.Path(sys.argv[1])
def fill():
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
def told(**values):
    print(json.dumps(values))
def node(tailnet, place="node"):
    return tsnet.Server("shop", control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=disk / place)
"""


@cache
def cannot() -> str:
    """The reason why there can be no such disk."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, to mount a small disk"
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "this machine's root may mount nothing"


@pytest.fixture(autouse=True)
def _may_mount() -> None:
    if cannot():
        pytest.skip(cannot())


pytestmark = pytest.mark.slow


def on_disk(tmp_path: Path, program: str) -> dict[str, Any]:
    """What the program tells that runs with the small disk."""
    mount = 'mount -t tmpfs -o size=64k,mode=700 none "$1" && shift && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, "-c"]
    done = subprocess.run(
        [*command, BEGIN + textwrap.dedent(program), str(tmp_path)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_node_that_runs_goes_on_and_saves_later(tmp_path: Path) -> None:
    told = on_disk(
        tmp_path,
        """
        with Tailnet() as tailnet, node(tailnet) as server:
            problems, events = [], server.events()
            def follow():
                problems.extend(str(event.error) for event in events if isinstance(event, tsnet.events.Problem))
            threading.Thread(target=follow, daemon=True).start()
            fill()
            identity = (disk / "node/tsnet.state").read_bytes()  # not before: the mark of handshakes moves
            try:
                server.set(shields_up=True, timeout=10)
                error = ""
            except tsnet.StateError as raised:
                error = str(raised)
            state = server.status().state
            same = (disk / "node/tsnet.state").read_bytes() == identity
            (disk / "filler").unlink()
            end = time.monotonic() + 30
            while not (disk / "node/tsnet.prefs").exists() and time.monotonic() < end:
                time.sleep(0.05)
            told(error=error, state=state, same=same, problems=problems, saved=(disk / "node/tsnet.prefs").exists())
        """,
    )
    print(told)
    assert "No space left on device" in told["error"]
    assert (told["state"], told["same"], told["saved"]) == ("running", True, True)
    assert any("No space left on device" in problem for problem in told["problems"])


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("fill()", "No space left on device"),
        ("subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)", "Read-only file system"),
    ],
)
def test_a_new_node_does_not_join_without_a_place_for_its_keys(tmp_path: Path, spoil: str, why: str) -> None:
    told = on_disk(
        tmp_path,
        f"""
        (disk / "node").mkdir(mode=0o700)
        {spoil}
        with Tailnet() as tailnet:
            server = node(tailnet)
            try:
                server.up()
                error = ""
            except tsnet.StateError as raised:
                error = str(raised)
            server.close()
            told(error=error, nodes=len(tailnet.nodes()))
        """,
    )
    assert why in told["error"]
    assert told["nodes"] == 0


def test_a_node_that_comes_back_to_a_full_disk_is_itself(tmp_path: Path) -> None:
    told = on_disk(
        tmp_path,
        """
        with Tailnet() as tailnet:
            with node(tailnet) as server:
                first = str(server.addresses)
            fill()
            server = node(tailnet)
            try:
                server.up()
                again = str(server.addresses)
            except tsnet.StateError as raised:
                again = str(raised)
            server.close()
            (disk / "filler").unlink()
            with node(tailnet) as server:
                last = str(server.addresses)
            told(first=first, again=again, last=last, nodes=len(tailnet.nodes()))
        """,
    )
    print(told)
    assert told["nodes"] == 1
    assert told["last"] == told["first"]
    assert told["again"] == told["first"] or "No space left on device" in told["again"]
