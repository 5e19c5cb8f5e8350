"""The smoke test of a real tailnet, against the embedded one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import tsnet
from tsnet.edge.io.store import MemoryStore
from tsnet.testing import Tailnet

PROGRAM = Path(__file__).parent / "smoke_real.py"


def smoke(**environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TS_")}
    return subprocess.run(
        [sys.executable, str(PROGRAM)], env={**kept, **environ}, capture_output=True, text=True, check=False
    )


def test_each_step_on_the_embedded_tailnet(tailnet: Tailnet) -> None:
    options: dict[str, Any] = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key}
    with tsnet.Server("other", state=MemoryStore(), ephemeral=True, **options) as other:
        other.reachable()
        done = smoke(TS_CONTROL_URL=tailnet.control_url, TS_AUTHKEY=tailnet.auth_key)
        assert list(tailnet.nodes()) == ["other"]
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["join", "names", "whois", "DERP", "ping", "direct", "logout"]
    assert re.search(r"smoke-\d+\.tailnet\.test", done.stdout)
    assert "of you@tailnet.test" in done.stdout
    assert "home region 900" in done.stdout
    assert "other (100.64.0.1) answers in" in done.stdout


def test_without_a_key_it_says_where_to_get_one() -> None:
    done = smoke()
    assert done.returncode == 2
    assert "TS_AUTHKEY" in done.stdout


def test_a_key_that_is_refused(tailnet: Tailnet) -> None:
    done = smoke(TS_CONTROL_URL=tailnet.control_url, TS_AUTHKEY="tskey-auth-wrong")
    assert done.returncode == 1
    assert "FAILED  control at http://127.0.0.1" in done.stdout
