"""Namespaces for somebody who is not root: a process that is root of a user namespace of its own, and of nothing else.

    python -m tests.lab tests/lab/test_punching.py      pytest in there, with any arguments

It has its own network, which leads nowhere, and its own mounts: `ip netns` keeps its names in /run, which is made
empty for it.

Source: user_namespaces(7), unshare(1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

FOLDER = "PYTEST_DEBUG_TEMPROOT"
"""Where pytest keeps its folders. It is named root in there, and must not take those of the machine's root."""
PRIVATE_RUN = 'mount -t tmpfs none /run && exec "$@"'


def command(arguments: Sequence[str]) -> list[str]:
    return ["unshare", "-Urnm", "sh", "-c", PRIVATE_RUN, "rootless", *arguments]


def pytest_command(*arguments: str) -> list[str]:
    return command([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments])


@cache
def is_needed() -> bool:
    """This process is not root, but may have namespaces. Without them, tests say why they skip."""
    if os.geteuid() == 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(command(["ip", "netns", "list"]), capture_output=True, check=False).returncode == 0
