"""What control is told of this machine: the part of tailcfg.Hostinfo that only the edge can know.

Source: Go hostinfo/hostinfo.go.
Not here: what the node adds, and when it is told (`engine.preferences`, `control.client.publisher`).
"""

from __future__ import annotations

import platform
import sys
from typing import Any

_OS_NAMES = {"linux": "linux", "darwin": "macOS", "win32": "windows"}
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}


def hostinfo() -> dict[str, Any]:
    """By the names of tailcfg.Hostinfo's JSON."""
    machine = platform.machine()
    return {
        "OS": _OS_NAMES.get(sys.platform, sys.platform),
        "OSVersion": platform.release(),
        "Machine": machine,
        "GoArch": _ARCHITECTURES.get(machine, machine),
    }
