"""How soon a pair is direct, by what the dialling node's machine sends and receives: nobody's own word is taken for it.

    with Homes(folder, "easy", "easy", ("ours", "go")) as homes:
        seconds_to_direct(homes)          # 0.006, from the dial

A datagram of WireGuard with data between the two homes themselves is one that no relay has carried. A pair is direct
once one has gone each way.
"""

from __future__ import annotations

import time

from tests.interop.harness.capture import TRANSPORT, capturing, datagrams
from tests.lab.homes import PORT, Homes

AFTERWARDS = 20
"""Exchanges after both say that they are direct, so that there are datagrams to see."""


def seconds_to_direct(homes: Homes, *, patience: float = 10.0) -> float:
    """Bytes go back and forth without a pause meanwhile. AssertionError if it is not direct in time."""
    side, scene = homes.internet.left, homes.internet.scene
    capture = capturing(scene, side.host, "a.pcap")
    homes.b.listen(f":{PORT}", "echo")
    begun = time.time()
    stream = homes.a.open(f"b:{PORT}")
    left = AFTERWARDS
    while left and time.time() < begun + patience:
        homes.a.write(stream, b"\1")
        assert homes.a.read(stream, 1) == b"\1"
        if left < AFTERWARDS or (homes.a.path_to("b") and homes.b.path_to("a")):
            left -= 1
    homes.a.close_stream(stream)
    capture.stop()
    found = [datagram for datagram in datagrams(scene.folder / "a.pcap") if datagram.kind == TRANSPORT]
    sent = [datagram.at for datagram in found if datagram.source.host == side.address]
    came = [datagram.at for datagram in found if datagram.source.host != side.address]
    assert sent, "all went by a relay"
    assert came, "all came by a relay"
    return max(sent[0], came[0]) - begun
