"""Control names URLs for its pings: on the wire, only control itself is asked, whatever host, port or scheme they name.

A scene's loopback takes every packet that leaves, for whatever address: tcpdump sees each SYN and each DNS query.
Source: Go control/controlclient/direct.go answerPing, which asks any host.
"""

from __future__ import annotations

import re
import socket

import pytest

from tests.interop.harness import ours
from tests.interop.harness.ours import until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, ip
from tests.interop.harness.testcontrol import Derper, TestControl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ELSEWHERE = [
    "http://169.254.169.254/latest/meta-data/",
    "http://192.0.2.1/",
    "https://192.0.2.2:8443/x",
    "http://[2001:db8::1]/",
    "http://127.0.0.1:9/discard",
    "http://127.0.0.1/",
    "http://localhost:8081/p",
    "http://elsewhere.example/p",
    "http://127.0.0.1:8081@192.0.2.3/p",
    "http://192.0.2.4#@127.0.0.1:8081/p",
    "https://127.0.0.1:8081/p",
    "ftp://192.0.2.5/x",
    "file:///etc/passwd",
    "//192.0.2.6/x",
    "http://2130706433:9/x",
]
DESTINATION = re.compile(r" > (\S+): ")


def test_pings_go_to_control_alone(scene: Scene) -> None:
    need("testcontrol", "derper")
    ip("-n", scene.name, "route", "add", "default", "dev", "lo")
    seen = scene.folder / "seen.txt"
    syn = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn or ip6[53] & 2 != 0 or port 53"
    command = ["sh", "-c", f"exec tcpdump --immediate-mode -l -n -i lo '{syn}' > {seen}"]
    with (
        Derper(scene) as derper,
        TestControl(scene, derper) as control,
        ours.node(control, "ours", auth_key="any", relays_only=True) as node,
    ):
        node.reachable()
        capture = scene.run("tcpdump", command)
        capture.wait_until(lambda: "listening on" in capture.log(), "listening")

        def destinations() -> list[str]:
            return DESTINATION.findall(seen.read_text())

        key = control.node("ours")["Key"]
        for number, url in enumerate(ELSEWHERE):
            for types in ("", "disco"):
                request = {"URL": url.replace("/p", f"/p{number}"), "Types": types, "IP": "100.64.0.77"}
                until(lambda request=request: control.ping(key, request), 5)  # type: ignore[misc]
        assert control.ping(key, {"URL": f"{control.url}/key?v=147"})
        until(lambda: "127.0.0.1.8081" in destinations(), 10, "control's own URL is asked")
        dropped = node._handle.node.control.dropped
        assert sum(count for name, count in dropped.items() if name.startswith("ping-")) >= len(ELSEWHERE)
        assert set(destinations()) == {"127.0.0.1.8081"}
        with pytest.raises(OSError):  # the capture would have seen it
            socket.create_connection(("192.0.2.9", 9), 0.3)
        until(lambda: "192.0.2.9.9" in destinations(), 5)
