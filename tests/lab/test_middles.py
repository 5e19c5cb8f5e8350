"""Direct paths and relays with Headscale or our embedded tailnet in the middle, and control restarted meanwhile.

| in the middle | pairs                                                    |
|---------------|----------------------------------------------------------|
| headscale     | ours and Go's in both roles, ours and ours               |
| embedded      | the same, and Go's and Go's; one of the pairs is relayed |
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import cast

import pytest

from tests.interop.harness.requirements import need
from tests.interop.harness.testcontrol import Derper
from tests.lab.conftest import BuildHomes
from tests.lab.homes import PORT, Who, meet
from tests.lab.interruptions import Stream
from tests.lab.middles import relays_file
from tests.lab.routers import can_be_direct

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

FIRST_BYTE = 6.5
"""Seconds. Go's first initiation leaves before Headscale has told it where the peer is, and the next one 5 s later."""
OUR_FIRST_BYTE = 2.0
PATIENCE = 11.0
"""Seconds. Go, once a ping of its own was lost, pings again after 5 s, and so once more."""
SILENT_WITHOUT_CONTROL = 1.0
BACK = 30.0
"""Seconds after which a node has found a control server that was away for two; its pauses double."""

COME_BACK = {"headscale": "ab", "embedded": "a"}
"""Go's node, which insists on port 443 for two minutes after a connection without TLS, comes back later than that."""

OF_HEADSCALE = [
    ("easy", "easy", "ours-go"),
    ("hard", "restricted", "go-ours"),
    ("restricted", "easy", "ours-ours"),
    ("hard", "easy", "ours-go"),
]
OF_OURS = [
    ("easy", "easy", "ours-go"),
    ("fullcone", "hard", "ours-go"),
    ("cgnat", "easy", "go-ours"),
    ("easy", "restricted", "go-go"),
    ("restricted", "hard", "ours-ours"),
    ("hard", "easy", "go-ours"),
]
CASES = [("headscale", *pair) for pair in OF_HEADSCALE] + [("embedded", *pair) for pair in OF_OURS]


def players(who: str) -> tuple[Who, Who]:
    kinds: dict[str, Who] = {"go": "go", "ours": "ours"}
    left, right = who.split("-")
    return kinds[left], kinds[right]


@pytest.mark.parametrize(("control", "left", "right", "who"), CASES, ids=lambda case: case)
def test_a_pair_meets_as_its_routers_allow(homes: BuildHomes, control: str, left: str, right: str, who: str) -> None:
    if control == "headscale":
        need("headscale")
    possible = can_be_direct(left, right)
    cell = meet(homes.settle(left, right, players(who), control=control), patience=PATIENCE if possible else 4.0)
    print(cell)
    assert cell.is_direct == possible
    assert cell.first_byte < (OUR_FIRST_BYTE if who.startswith("ours") else FIRST_BYTE)


@pytest.mark.parametrize("control", ["headscale", "embedded"])
def test_control_restarts_under_a_stream(homes: BuildHomes, control: str) -> None:
    """On a direct path nobody notices. Afterwards the same nodes are known, and what is dialled anew is answered."""
    if control == "headscale":
        need("headscale")
    built = homes.settle("easy", "easy", ("ours", "go"), control=control)
    built.b.listen(f":{PORT}", "echo")
    stream = Stream(built.a, "b")
    begun = time.monotonic()
    while not (built.a.path_to("b") and built.b.path_to("a")):
        assert time.monotonic() - begun < PATIENCE
        stream.go_on(0.1)
    built.middle.kill()
    longest = stream.go_on(2.0)
    assert Stream(built.a, "b").exchange() < SILENT_WITHOUT_CONTROL
    built.middle.start()
    longest = max(longest, stream.go_on(2.0))
    print(f"silent for {longest:.2f} s")
    assert longest < SILENT_WITHOUT_CONTROL
    begun = time.monotonic()
    while not all(built.is_online(name) for name in COME_BACK[control]):
        assert time.monotonic() - begun < BACK, "control does not hear of them again"
        stream.go_on(0.2)
    assert Stream(built.a, "b").exchange() < SILENT_WITHOUT_CONTROL
    assert built.a.path_to("b")


def test_the_file_of_relays_has_numbers_as_keys() -> None:
    """Headscale takes no others. All else is JSON, with names in small letters."""
    derper = SimpleNamespace(region=7, region_json={"RegionID": 7, "Nodes": [{"HostName": "Near", "IPv6": None}]})
    assert relays_file([cast(Derper, derper)]) == (
        'regions:\n  7: {"regionid": 7, "nodes": [{"hostname": "Near", "ipv6": null}]}\n'
    )
