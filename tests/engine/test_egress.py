from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from netstack.wire import ipv4, ipv6, udp
from tests.engine.pair import A4, A6, B4, B6, netmap, node
from tsnet.engine.egress import Egress
from tsnet.netmap.changes import Changes
from tsnet.netmap.packetfilter import PacketFilter
from tsnet.netmap.routes import Routes

A, B = node(1, "a"), node(2, "b")


def egress(packet_filter: PacketFilter | None = None) -> Egress:
    return Egress(Routes((prefix, B.raw_key) for prefix in B.addresses), packet_filter or PacketFilter())


def datagram(source: bytes, destination: bytes, ports: tuple[int, int] = (1000, 53)) -> bytes:
    header = ipv4.header if len(source) == 4 else ipv6.header
    payload = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + bytes(4)
    return header(source, destination, udp.PROTOCOL, len(payload)) + payload


def test_a_run_goes_to_the_owner_of_its_destination() -> None:
    door = egress()
    v4, v6 = [datagram(A4.packed, B4.packed)], [datagram(A6.packed, B6.packed)]
    assert door.route([(B4.packed, v4), (B6.packed, v6)]) == [(B.key, v4), (B.key, v6)]
    assert not door.dropped


def test_what_nobody_owns_is_counted_packet_by_packet() -> None:
    door = egress()
    stranger = ip_address("100.64.0.9").packed
    packet = datagram(A4.packed, stranger)
    assert door.route([(stranger, [packet, packet])]) == []
    assert door.dropped == Counter({"no-peer": 2})


def test_the_filter_learns_whom_we_spoke_to_so_that_an_answer_may_come() -> None:
    packet_filter = PacketFilter()
    packet_filter.apply(Changes.between(None, netmap(A, B, rules=())))
    answer = datagram(B4.packed, A4.packed, (53, 1000))
    assert packet_filter.admit([answer]) == ([], [])
    egress(packet_filter).route([(B4.packed, [datagram(A4.packed, B4.packed)])])
    assert packet_filter.admit([answer]) == ([answer], [])
