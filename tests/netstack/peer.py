"""A peer played by the test: it writes segments by hand and reads what the stack answers.

    peer = Peer(); peer.connect()             the stack is the client, we answer its SYN
    peer.send("A", payload=b"x")              a segment at peer.seq, acknowledging all that was received
    peer.take()                               [Seen(flags="A", seq=…, …)] relative to the stack's and our ISS

Sequence numbers are relative: the SYN is 0, the first byte 1.
"""

from __future__ import annotations

import math
from ipaddress import ip_address
from typing import Any, NamedTuple

from netstack import Stack, TcpConnection
from netstack.wire import ipv4, ipv6, tcp
from tests.clock import Clock
from tests.netstack.pair import A4, A6, B4, B6, drain, new_stack, packets_of

FLAGS = "FSRPAU"
ISS = 0xFFFF_FF00
"""Ours: near the wrap, so that every test crosses it soon."""


class Seen(NamedTuple):
    flags: str
    seq: int
    ack: int
    size: int
    window: int
    options: tcp.Options
    payload: bytes


class Peer:
    """The remote end of one connection of a stack at A4 and A6; we are at B4 or B6."""

    def __init__(self, *, v6: bool = False, stamps: bool = True, sack: bool = True, scale: int | None = 8) -> None:
        self.clock = Clock()
        self.stack: Stack = new_stack(A4, A6)
        self.ours, self.theirs = (B6, A6) if v6 else (B4, A4)
        self.stamps, self.sack, self.scale = stamps, sack, scale
        self.seq = 0
        self.their_iss = 0
        self.received = 0
        self.port, self.their_port = 80, 0
        self.window = 65_535
        self.mss = 1220
        self.echo = 0
        self.connection: TcpConnection

    @property
    def now(self) -> float:
        return self.clock.now

    def connect(self, rtt: float = 0.0) -> TcpConnection:
        """The stack dials us, and takes `rtt` for it; established."""
        self.dial()
        self.clock.advance(rtt)
        self.answer()
        assert [seen.flags for seen in self.take()] == ["A"]
        assert self.connection.state == "ESTABLISHED"
        self.stack.take_ready()
        return self.connection

    def dial(self) -> TcpConnection:
        """The stack's SYN is out."""
        self.connection = self.stack.connect(self.ours, self.port, self.now, link="peer")
        (syn,) = self.take()
        assert (syn.flags, syn.ack) == ("S", 0)
        return self.connection

    def answer(self, flags: str = "SA") -> None:
        """Our SYN, with the options that this peer has."""
        self.send(flags, seq=0, options=self.syn_options())
        self.seq = 1

    def listen(self, backlog: int = 8) -> TcpConnection:
        """We dial the stack; established and accepted."""
        listener = self.stack.listen(8080, backlog=backlog)
        self.port, self.their_port = 5000, 8080
        self.send("S", seq=0, options=self.syn_options())
        self.seq = 1
        (answer,) = self.take()
        assert (answer.flags, answer.ack) == ("SA", 1)
        self.send("A")
        connection = listener.accept()
        assert connection is not None
        self.connection = connection
        assert self.take() == []
        self.stack.take_ready()
        return connection

    def syn_options(self) -> bytes:
        return tcp.syn_options(self.mss, self.scale, self.sack, (self.stamp(), self.echo) if self.stamps else None)

    def stamp(self) -> int:
        return int(self.now * 1000) & 0xFFFF_FFFF

    def packet(
        self,
        flags: str,
        *,
        seq: int | None = None,
        ack: int | None = None,
        payload: bytes = b"",
        window: int | None = None,
        options: bytes | None = None,
        stamp: int | None = None,
        blocks: Any = (),
    ) -> bytes:
        if options is None:
            options = tcp.timestamp_options(self.stamp() if stamp is None else stamp, self.echo) if self.stamps else b""
            options += tcp.sack_option([(self.wire(left), self.wire(right)) for left, right in blocks])
        return tcp.build(
            self.ours.packed,
            self.port,
            self.theirs.packed,
            self.their_port,
            seq=(ISS + (self.seq if seq is None else seq)) & 0xFFFF_FFFF,
            ack=self.wire(self.received if ack is None else ack) if "A" in flags else 0,
            flags=sum(1 << FLAGS.index(flag) for flag in flags),
            window=self.window if window is None else window,
            options=options,
            payload=payload,
        )

    def send(self, flags: str, **fields: Any) -> None:
        """One segment; in sequence it moves peer.seq on."""
        packet = self.packet(flags, **fields)
        self.stack.receive([("peer", [packet])], self.now)
        if "seq" not in fields:
            self.seq += len(fields.get("payload", b"")) + ("F" in flags)

    def wire(self, relative: int) -> int:
        """A number of the stack's sequence space as on the wire."""
        return (self.their_iss + relative) & 0xFFFF_FFFF

    def take(self) -> list[Seen]:
        """What the stack sends now. Its data counts as received by us when it is in order."""
        return [self._see(packet) for packet in packets_of(drain(self.stack, self.now))]

    def next(self) -> list[Seen]:
        """Let time pass until the stack sends something."""
        for _ in range(100):
            self.clock.advance_to(self.stack.deadline())
            seen = self.take()
            if seen:
                return seen
        raise AssertionError("the stack stays silent")

    def wait(self, seconds: float) -> list[Seen]:
        """Let time pass, timer by timer; what the stack sent meanwhile."""
        until = self.now + seconds
        seen = self.take()
        while self.stack.deadline() <= until:
            self.clock.advance_to(self.stack.deadline())
            seen += self.take()
        self.clock.advance_to(until)
        return seen + self.take()

    def _see(self, packet: bytes) -> Seen:
        header: Any = ipv4.parse(packet) if packet[0] >> 4 == 4 else ipv6.parse(packet)
        segment = packet[header.header_size :]
        parsed = tcp.parse(header.source, header.destination, segment)
        assert isinstance(parsed, tcp.Header), parsed
        assert header.destination == self.ours.packed
        assert header.source == self.theirs.packed
        flags = "".join(flag for bit, flag in enumerate(FLAGS) if parsed.flags >> bit & 1)
        if flags in ("S", "SA"):
            self.their_iss, self.their_port, self.received = parsed.seq, parsed.source_port, 1
        options = tcp.parse_options(segment[20 : parsed.size])
        payload = segment[parsed.size :]
        seq = _relative(parsed.seq, self.their_iss)
        if options.timestamps is not None and seq <= self.received:
            self.echo = options.timestamps[0]
        if seq == self.received:
            self.received += len(payload) + ("F" in flags)
        ack = _relative(parsed.ack, ISS) if "A" in flags else 0
        return Seen(flags, seq, ack, len(payload), parsed.window, options, payload)


def _relative(wire: int, iss: int) -> int:
    return ((wire - iss + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


def quiet(stack: Stack) -> bool:
    """Whether nothing is left to happen."""
    return stack.deadline() == math.inf


ANYBODY = ip_address("100.64.0.99")
