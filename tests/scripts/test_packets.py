"""Packets as text."""

from __future__ import annotations

import pytest

from tests.scripts.cursor import Cursor
from tests.scripts.packets import parse_packet
from tests.scripts.script import ACK, CWR, ECE, FIN, PSH, RST, SYN, Icmp, Packet, ScriptError, Segment, Udp


def parsed(text: str, *, inbound: bool = True) -> Packet:
    cursor = Cursor(text)
    packet = parse_packet(cursor, inbound=inbound)
    assert cursor.done
    return packet


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("S 0:0(0) win 100", Segment(True, SYN, 0, 0, None, 100)),
        ("R. 5:5(0) ack 2", Segment(True, RST | ACK, 5, 0, 2)),
        ("FP. 1:11(10) ack 1 win 0 urg 3", Segment(True, FIN | PSH | ACK, 1, 10, 1, 0, 3)),
        ("- 1:2(1)", Segment(True, 0, 1, 1)),
        ("[ect0] . 1:1(0) ack 1", Segment(True, ACK, 1, 0, 1, ecn=2)),
        ("SEW 0:0(0) win 1", Segment(True, SYN | ECE | CWR, 0, 0, None, 1)),
        ("1 > 2: . 1:1(0) ack 1", Segment(True, ACK, 1, 0, 1, ports=(1, 2))),
        (". 1:1(0) ack 1 <...>", Segment(True, ACK, 1, 0, 1, options=None)),
        ("P. 4294967295:9(10) ack 1", Segment(True, PSH | ACK, 4294967295, 10, 1)),
        ("udp (100)", Udp(True, 100)),
        ("icmp unreachable", Icmp(True, "unreachable")),
        ("[7:9(2)] icmp unreachable frag_needed mtu 1300", Icmp(True, "unreachable", "frag_needed", 1300, (7, 2))),
        ("icmp unreachable frag_needed mtu 1300 [7:9(2)]", Icmp(True, "unreachable", "frag_needed", 1300, (7, 2))),
        ("icmp packet_too_big mtu 1300", Icmp(True, "packet_too_big", None, 1300)),
    ],
)
def test_packets(text: str, packet: Packet) -> None:
    assert parsed(text + "\n") == packet


def test_options_in_their_order() -> None:
    packet = parsed("S 0:0(0) win 1 <mss 1460,sackOK,TS val 1 ecr 2,nop,wscale 7,eol,sack 1:2 3:4>")
    assert isinstance(packet, Segment)
    assert packet.options == (
        *(("mss", 1460), ("sackOK",), ("TS", 1, 2), ("nop",), ("wscale", 7), ("eol",)),
        ("sack", (1, 2), (3, 4)),
    )


def test_a_packet_ends_before_the_next_event() -> None:
    cursor = Cursor(". 1:1(0) ack 1\n+0 < . 1:1(0) ack 1")
    parse_packet(cursor, inbound=False)
    assert cursor.take(r"\+0") == "+0"


@pytest.mark.parametrize(
    "text",
    [
        ". 1:1(1) ack 1",
        "X 1:1(0)",
        ". 1(0)",
        ". 1:1 ack 1",
        "S 0:0(0) <mss>",
        "S 0:0(0) <what>",
        "udp 5",
        ". 1:1(0) ack",
    ],
)
def test_what_is_no_packet(text: str) -> None:
    with pytest.raises(ScriptError, match="line 1"):
        parsed(text)
