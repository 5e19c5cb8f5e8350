"""The handshake: what counts in SYN_SENT and SYN_RECEIVED, and what ICMP may do to it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from tests.netstack.packetimpact.states import established, in_state
from tests.netstack.pair import A4, A6, B4
from tests.netstack.peer import Peer


@pytest.mark.parametrize(("ack", "answer"), [(0, "R"), (1, None), (2, "R")])
def test_ack_acceptability_in_syn_rcvd(ack: int, answer: str | None) -> None:
    peer = in_state("SYN_RECEIVED")
    peer.send("A", ack=ack)
    seen = peer.take()
    assert [segment.flags for segment in seen] == ([answer] if answer else [])
    if answer:
        assert seen[0].seq == ack


def test_rst_in_syn_rcvd_leaves_the_listener() -> None:
    peer = in_state("SYN_RECEIVED")
    peer.send("R")
    assert not peer.stack.connections
    peer.send("S", seq=0, options=peer.syn_options())
    assert [seen.flags for seen in peer.take()] == ["SA"]


@pytest.mark.parametrize(("flags", "ack", "error"), [("RA", 1, "refused"), ("RA", 5, None), ("R", 1, None)])
def test_rst_in_syn_sent(flags: str, ack: int, error: str | None) -> None:
    peer = Peer()
    connection = peer.dial()
    peer.send(flags, seq=0, ack=ack)
    assert connection.error == error


def test_rst_in_time_wait_is_ignored() -> None:
    peer = in_state("FIN_WAIT_2")
    peer.send("FA")
    peer.take()
    assert peer.stack.connections == {"TIME_WAIT": 1}
    peer.send("R")
    assert peer.stack.connections == {"TIME_WAIT": 1}


def test_data_queued_during_syn_sent() -> None:
    peer = Peer()
    connection = peer.dial()
    assert connection.write(b"early", peer.now) == 5
    assert peer.take() == []
    peer.answer()
    assert b"".join(seen.payload for seen in peer.take()) == b"early"


def test_simultaneous_open() -> None:
    peer = Peer()
    connection = peer.dial()
    peer.answer("S")
    assert [(seen.flags, seen.ack) for seen in peer.take()] == [("SA", 1)]
    peer.send("SA", seq=0, ack=1, options=peer.syn_options())
    assert connection.state == "ESTABLISHED"
    connection.write(b"both", peer.now)
    assert b"".join(seen.payload for seen in peer.take()) == b"both"


@pytest.mark.parametrize("code", [0, 1])
def test_icmp_error_during_connect_v4(code: int) -> None:
    peer = Peer()
    connection = peer.dial()
    quoted = bytes(IP(src=str(A4), dst=str(B4), proto=6)) + _first_bytes(peer)
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=code) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert connection.error == "unreachable"


def test_icmp_error_during_connect_v6() -> None:
    peer = Peer(v6=True)
    connection = peer.dial()
    quoted = bytes(IPv6(src=str(A6), dst=str(peer.ours), nh=6)) + _first_bytes(peer)
    message = bytes(IPv6(src=str(peer.ours), dst=str(A6)) / ICMPv6DestUnreach(code=4) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert connection.error == "refused"


def test_icmp_error_is_only_noted_when_established() -> None:
    peer = established()
    peer.connection.write(b"x", peer.now)
    peer.take()
    quoted = bytes(IP(src=str(A4), dst=str(B4), proto=6)) + _first_bytes(peer, 1)
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=1) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert peer.connection.state == "ESTABLISHED"
    peer.wait(3000)
    assert peer.connection.error == "unreachable"


@pytest.mark.parametrize(("relative", "is_out"), [(0, False), (1, True), (3, True), (4, False)])
def test_icmp_error_must_quote_what_is_out(relative: int, is_out: bool) -> None:
    peer = established()
    peer.connection.write(b"xyz", peer.now)
    peer.take()
    quoted = bytes(IP(src=str(A4), dst=str(B4), proto=6)) + _first_bytes(peer, relative)
    message = bytes(IP(src=str(B4), dst=str(A4)) / ICMP(type=3, code=1) / Raw(quoted))
    peer.stack.receive([("peer", [message])], peer.now)
    assert peer.stack.dropped == ({} if is_out else {"icmp: for no segment that is out": 1})


def _first_bytes(peer: Peer, relative: int = 0) -> bytes:
    ports = peer.their_port.to_bytes(2, "big") + peer.port.to_bytes(2, "big")
    return ports + peer.wire(relative).to_bytes(4, "big")
