from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest

from netstack.wire import icmp, ipv4, ipv6, udp
from tests.engine.pair import A4, A6, ALLOW_ALL, B4, B6, netmap, node
from tests.engine.test_tsmp import syn
from tsnet.base.keys import DiscoKey
from tsnet.engine import tsmp
from tsnet.engine.ingress import Ingress
from tsnet.netmap.changes import Changes
from tsnet.netmap.filterrules import NOTHING_ALLOWED
from tsnet.netmap.model import FilterRule
from tsnet.netmap.packetfilter import PacketFilter
from tsnet.netmap.routes import Routes

A, B, C = node(1, "a"), node(2, "b"), node(3, "c")


def ingress(rules: tuple[FilterRule, ...] | None = ALLOW_ALL) -> Ingress:
    """The door of node a, whose peers are b and c."""
    packet_filter = PacketFilter()
    packet_filter.apply(Changes.between(None, netmap(A, B, C, rules=rules)))
    routes = Routes((prefix, peer.raw_key) for peer in (B, C) for prefix in peer.addresses)
    return Ingress(routes, packet_filter)


def datagram(source: bytes = B4.packed, destination: bytes = A4.packed, size: int = 12) -> bytes:
    header = ipv4.header if len(source) == 4 else ipv6.header
    return header(source, destination, udp.PROTOCOL, size) + bytes([0, 9, 0, 9]) + bytes(size - 4)


@pytest.mark.parametrize("packet", [datagram(), datagram(B6.packed, A6.packed)])
def test_padding_is_cut_off(packet: bytes) -> None:
    door = ingress()
    assert door.admit(B.key, [packet + bytes(15)]) == [packet]
    assert door.admit(B.key, [packet]) == [packet]
    assert not door.dropped


@pytest.mark.parametrize("packet", [datagram(), datagram(B6.packed, A6.packed)])
def test_cut_off_at_every_length_it_is_dropped_and_counted(packet: bytes) -> None:
    for size in range(len(packet)):
        door = ingress()
        assert door.admit(B.key, [packet[:size]]) == []
        assert door.dropped.total() == 1
        assert set(door.dropped) <= {"empty", "version", "length"}


def test_a_source_of_another_peer_or_of_nobody_is_dropped() -> None:
    door = ingress()
    forged = [datagram(ip_address(text).packed) for text in ("100.64.0.3", "100.64.0.77", "8.8.8.8", "100.64.0.1")]
    good = datagram()
    assert door.admit(B.key, [forged[0], good, *forged[1:]]) == [good]
    assert door.dropped == Counter({"source": 4})


def test_the_source_last_found_good_is_remembered_for_its_own_address_alone() -> None:
    door = ingress()
    good, forged = datagram(), datagram(ip_address("100.64.0.3").packed)
    assert door.admit(B.key, [good, good, forged, good]) == [good, good, good]


@pytest.mark.parametrize("length", [0, 1, 19])
def test_a_header_length_that_lies_is_dropped(length: int) -> None:
    packet = bytearray(datagram())
    packet[2:4] = length.to_bytes(2, "big")
    door = ingress()
    assert door.admit(B.key, [bytes(packet)]) == []
    assert door.dropped == Counter({"length": 1})


@pytest.mark.parametrize("version", [0, 1, 5, 7, 15])
def test_other_versions(version: int) -> None:
    door = ingress()
    assert door.admit(B.key, [bytes([version << 4]) + bytes(60)]) == []
    assert door.dropped == Counter({"version": 1})


@pytest.mark.parametrize(("source", "target"), [(B4, A4), (B6, A6)])
def test_a_tsmp_ping_is_answered_and_goes_no_further(source: object, target: object) -> None:
    door = ingress()
    ping = tsmp.packet(source.packed, target.packed, tsmp.TsmpPing(b"abcdefgh"))  # type: ignore[attr-defined]
    assert door.admit(B.key, [ping + bytes(3)]) == []
    pong = tsmp.packet(target.packed, source.packed, tsmp.TsmpPong(b"abcdefgh"))  # type: ignore[attr-defined]
    assert door.take_replies() == [(B.key, [pong])]
    assert door.take_replies() == []


def test_other_tsmp_is_told_and_garbage_counted() -> None:
    door = ingress()
    message = tsmp.DiscoAdvertisement(DiscoKey(bytes(32)))
    good = tsmp.packet(B4.packed, A4.packed, message)
    bad = ipv4.header(B4.packed, A4.packed, tsmp.PROTOCOL, 3) + b"zzz"
    assert door.admit(B.key, [good, bad]) == []
    assert door.take_messages() == [(B.key, B4.packed, message)]
    assert door.take_messages() == []
    assert door.dropped == Counter({"tsmp": 1})


def test_a_denied_syn_is_answered_with_the_reason() -> None:
    door = ingress(rules=())
    packet = syn(B4.packed, A4.packed)
    assert door.admit(B.key, [packet]) == []
    assert door.take_replies() == [(B.key, [tsmp.reject_of(packet, "A")])]


def test_a_jailed_peer_begins_nothing() -> None:
    door = ingress()
    door.jailed = frozenset([B.key])
    packet = syn(B4.packed, A4.packed)
    assert door.admit(B.key, [packet, datagram()]) == []
    assert door.take_replies() == [(B.key, [tsmp.reject_of(packet, "S")])]
    other = datagram(ip_address("100.64.0.3").packed)
    assert door.admit(C.key, [other]) == [other]


def test_raised_shields_are_the_reason() -> None:
    door = ingress()
    door.packet_filter.replace(NOTHING_ALLOWED, [*A.addresses], shields_up=True)
    packet = syn(B4.packed, A4.packed)
    assert door.admit(B.key, [packet]) == []
    assert door.take_replies() == [(B.key, [tsmp.reject_of(packet, "S")])]


def test_without_a_netmap_nothing_enters() -> None:
    door = Ingress(Routes((prefix, B.raw_key) for prefix in B.addresses), PacketFilter())
    ping = ipv4.header(B4.packed, A4.packed, icmp.V4_PROTOCOL, 8) + b"\10" + bytes(7)
    assert door.admit(B.key, [datagram(), ping, syn(B4.packed, A4.packed)]) == []
