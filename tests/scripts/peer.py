"""The other side, which the script plays: injected packets go to the stack, sent ones are held against the script.

    inject(packet)                script's numbers -> wire, by `flow`
    next_packet(expected, …)      the oldest packet sent, or the next within the time; joined from several if need be
    difference(expected, seen)    what is wrong with it

The first SYN to a socket that listens begins a conversation, and so does one that names other ports; any other belongs
to the conversation that there is, whatever becomes of it. A SYN of the stack begins one from the stack's port.
"""

from __future__ import annotations

from collections.abc import Mapping

from netstack import TcpListener
from tests.scripts.adaptations import Adaptations
from tests.scripts.calls import Kernel
from tests.scripts.flow import Flow
from tests.scripts.match import Window, differences
from tests.scripts.script import ACK, SYN, Icmp, Packet, ScriptError, Segment, Udp
from tests.scripts.sockets import DEFAULT_PORT, REMOTE_PORT, TcpSocket, UdpSocket
from tests.scripts.wire import (
    ICMP,
    ICMP6,
    TCP,
    UDP,
    Seen,
    build_icmp,
    build_segment,
    build_udp,
    describe,
    encode_options,
)
from tests.scripts.world import START, World

FIRST_PORT = 40_000


class Peer:
    def __init__(self, world: World, kernel: Kernel, options: Mapping[str, str]) -> None:
        self.world, self.kernel = world, kernel
        self.local, self.remote = world.local.packed, world.remote.packed
        self.tick = int(options.get("tcp_ts_tick_usecs", 0)) / 1e6
        self.segment_size = int(options.get("mss", 0))
        """With `--mss`, injected data is cut to this size and arrives together, as if a network card had joined it."""
        self.flows: list[Flow] = []
        self._challenges: set[float] = set()
        """When segments were injected that acknowledge what was never sent."""
        self._parts: set[float] = set()
        """When data was injected that was cut into segments."""
        self._met: TcpListener | None = None
        """The last listener that a SYN has come to."""

    # into the stack

    def inject(self, packet: Packet) -> None:
        if isinstance(packet, Segment):
            self.world.inject(self._segments(packet))
        elif isinstance(packet, Udp):
            ports = (REMOTE_PORT, self._udp_port())
            self.world.inject([build_udp(self.remote, self.local, ports, bytes(packet.size))])
        else:
            self.world.inject([self._icmp(packet)])

    def _segments(self, segment: Segment) -> list[bytes]:
        flow = self._flow_of(segment)
        self._note_challenge(segment, flow)
        options = encode_options(flow.option_to_wire(option) for option in segment.options or ())
        step = min(self.segment_size or segment.size, segment.size)
        if step < segment.size:
            self._parts.add(self.world.now)
        return [
            build_segment(
                self.remote,
                self.local,
                (flow.remote_port, flow.local_port),
                seq=flow.seq_to_wire(segment.seq + start),
                ack=flow.ack_to_wire(segment.ack or 0) if segment.flags & ACK else 0,
                flags=segment.flags,
                window=segment.window or 0,
                urgent=segment.urgent,
                options=options,
                payload=bytes(min(step, segment.size - start)),
                ecn=segment.ecn or 0,
            )
            for start in range(0, max(segment.size, 1), max(step, 1))
        ]

    def _note_challenge(self, segment: Segment, flow: Flow) -> None:
        for seen in self.world.sent:
            if flow.owns(seen):
                flow.note_sent(flow.as_script(seen))
        if flow.local_offset is not None and segment.flags & ACK and (segment.ack or 0) > flow.sent_end:
            self._challenges.add(self.world.now)

    def _flow_of(self, segment: Segment) -> Flow:
        is_first = not self.flows
        if segment.flags & (SYN | ACK) == SYN:
            listener = self._listener()
            is_first |= segment.ports is not None or listener not in (None, self._met)
            self._met = listener or self._met
        if is_first:
            self._add_flow(segment)
        return self.flows[-1]

    def _add_flow(self, segment: Segment) -> None:
        listener = self._listener()
        port = DEFAULT_PORT if listener is None else listener.port
        remote, local = segment.ports or (FIRST_PORT + len(self.flows), port)
        self.flows.append(Flow(self.local, self.remote, local, remote))

    def _listener(self) -> TcpListener | None:
        """The last that is open."""
        for socket in reversed(self.kernel.open.values()):
            if isinstance(socket, TcpSocket) and socket.listener is not None:
                return socket.listener
        return None

    def _udp_port(self) -> int:
        for socket in reversed(self.kernel.open.values()):
            if isinstance(socket, UdpSocket):
                return socket.endpoint.port
        return DEFAULT_PORT

    def _icmp(self, message: Icmp) -> bytes:
        if not self.flows:
            raise ScriptError("no segment yet that ICMP could be about")
        flow, (seq, _) = self.flows[-1], message.quoted or (1, 0)
        quoted = build_segment(
            self.local,
            self.remote,
            (flow.local_port, flow.remote_port),
            seq=flow.ack_to_wire(seq),
            ack=0,
            flags=ACK,
            window=0,
        )
        return build_icmp(self.remote, self.local, message.type, message.code, message.mtu, quoted)

    # out of the stack

    def next_packet(self, expected: Packet, window: Window, adaptations: Adaptations) -> Seen:
        """Raises ScriptError if nothing comes within the window."""
        seen = first = self._next(window)
        while seen is not None and self._is_extra(expected, seen, adaptations):
            seen = self._next(window)
        seen = seen or first
        if seen is None:
            raise ScriptError(f"nothing was sent until {min(window.end, self.world.now) - START:.6f}")
        if isinstance(expected, Segment) and 0 < seen.size < expected.size and adaptations.use("segments"):
            return self._joined(seen, expected.size, window)
        return seen

    def _is_extra(self, expected: Packet, seen: Seen, adaptations: Adaptations) -> bool:
        """Whether this is an acknowledgement that the script does not expect and an adaptation lets pass."""
        if not isinstance(expected, Segment) or seen.flags != ACK or seen.size:
            return False
        flow = self._flow_of_seen(seen)
        in_script, lenient = flow.as_script(seen), Adaptations(adaptations.allowed)
        if differences(expected, in_script, lenient) is None:
            return False
        acked, flow.acked = flow.acked, max(flow.acked, in_script.ack)
        if seen.at in self._challenges and adaptations.use("challenge"):
            return True
        is_news = acked < in_script.ack <= (expected.ack or 0) and all(option[0] != "sack" for option in seen.options)
        if is_news and adaptations.use("prompt"):
            return True
        return seen.at in self._parts and bool(self.world.sent) and adaptations.use("parts")

    def _next(self, window: Window) -> Seen | None:
        sent = self.world.sent
        while not sent and self.world.step(window.end):
            pass
        return sent.popleft() if sent else None

    def _joined(self, first: Seen, size: int, window: Window) -> Seen:
        """As many packets as follow each other directly, up to the size."""
        sent = self.world.sent
        while first.size < size:
            if not sent and not self.world.step(window.end):
                break
            if not sent:
                continue
            after = sent[0]
            follows = (first.seq + first.size) % 2**32 == after.seq and after.size <= size - first.size
            if not follows or not after.size or (after.ack, after.ports) != (first.ack, first.ports):
                break
            sent.popleft()
            first = first._replace(size=first.size + after.size, flags=after.flags, last_at=after.at)
        return first

    def difference(self, expected: Packet, seen: Seen, adaptations: Adaptations, tolerance: float) -> str | None:
        """Also learns: from our SYN our numbers, from our timestamps our clock."""
        if not isinstance(expected, Segment):
            protocols = (UDP,) if isinstance(expected, Udp) else (ICMP, ICMP6)
            same_size = not isinstance(expected, Udp) or seen.size == expected.size
            return None if seen.protocol in protocols and same_size else f"sent {describe(seen)}"
        if seen.protocol != TCP:
            return f"sent {describe(seen)}"
        flow = self._flow_of_seen(seen)
        flow.learn(expected, seen)
        in_script = flow.as_script(seen)
        flow.note_sent(in_script)
        flow.acked = max(flow.acked, in_script.ack)
        wrong = differences(expected, in_script, adaptations, tick=self.tick, tolerance=tolerance)
        return f"sent {describe(in_script)}, differs in {wrong}" if wrong else None

    def describe(self, seen: Seen) -> str:
        return describe(self._flow_of_seen(seen).as_script(seen)) if seen.protocol == TCP else describe(seen)

    def _flow_of_seen(self, seen: Seen) -> Flow:
        for flow in reversed(self.flows):
            if flow.owns(seen):
                return flow
        self.flows.append(Flow(self.local, self.remote, *seen.ports))
        return self.flows[-1]
