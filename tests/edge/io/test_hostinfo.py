from __future__ import annotations

import sys

from tsnet.edge.io.hostinfo import hostinfo


def test_hostinfo_names_the_system_as_go_does() -> None:
    told = hostinfo()
    assert all(isinstance(value, str) and value for value in told.values())
    if sys.platform == "linux":
        assert told["OS"] == "linux"
        assert told["GoArch"] in ("amd64", "arm64", "386", "arm") or told["GoArch"] == told["Machine"]
