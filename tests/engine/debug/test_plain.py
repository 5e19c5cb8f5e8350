from __future__ import annotations

import math
from collections import Counter

from tsnet.base.addresses import DerpAddress, PeerRelayAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.engine.debug import plain


def test_instants_become_spans_that_json_can_hold() -> None:
    assert plain.ahead(12.5, 10.0) == 2.5
    assert plain.ahead(9.0, 10.0) == plain.ahead(-math.inf, 10.0) == 0.0
    assert plain.ahead(math.inf, 10.0) is None
    assert plain.ago(7.0, 10.0) == 3.0
    assert plain.ago(None, 10.0) is plain.ago(-math.inf, 10.0) is None


def test_spans_are_rounded() -> None:
    assert plain.span(0.123456) == 0.1235
    assert plain.span(math.inf) is plain.span(None) is None


def test_addresses_and_routes() -> None:
    assert plain.address(UdpAddress("2001:db8::7", 1)) == "[2001:db8::7]:1"
    assert plain.destination(UdpAddress("192.0.2.7", 1)) == "192.0.2.7:1"
    assert plain.destination(PeerRelayAddress("192.0.2.9", 7777, 5)) == "peer relay 192.0.2.9:7777:vni:5"
    assert plain.destination(DerpAddress(5, NodeKey(bytes(32)))) == "relay 5"


def test_counters_are_sorted_and_without_what_was_not_met() -> None:
    assert list(plain.counts(Counter(b=2, a=1, c=0)).items()) == [("a", 1), ("b", 2)]
