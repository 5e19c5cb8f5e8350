"""One conversation: the script's sequence numbers and timestamps against those of the wire.

                 script             wire
    ours         0, 1, …            the stack's initial sequence number onwards; learnt from its SYN
    the peer's   0, 1, …            REMOTE_ISN onwards
    TS val       100, …             the stack's clock; the first of them is made equal to the script's first

An echo of ours that the script injects (`ecr`) is looked up by the value that the script once expected.
"""

from __future__ import annotations

from tests.scripts.script import ACK, FIN, SYN, Option, Segment
from tests.scripts.wire import Seen

REMOTE_ISN = 0xFFFF_E000
"""Close to the end of the number space, so that every longer script crosses it."""

_MODULO = 2**32


class Flow:
    def __init__(self, local: bytes, remote: bytes, local_port: int, remote_port: int) -> None:
        self.local, self.remote = local, remote
        self.local_port, self.remote_port = local_port, remote_port
        self.local_offset: int | None = None
        """Wire minus script; None until the stack's SYN was seen."""
        self.remote_offset = REMOTE_ISN
        self.stamps: dict[int, int] = {}
        """TS val: the script's -> the wire's."""
        self.stamp_offset: int | None = None
        self.sent_end = 0
        """Behind the last of our numbers that was seen on the wire, as the script counts."""
        self.acked = 0
        """The highest number of the peer's that we have acknowledged, as the script counts."""

    def owns(self, seen: Seen) -> bool:
        return seen.ports == (self.local_port, self.remote_port) and seen.destination == self.remote

    # out of the stack

    def learn(self, expected: Segment, seen: Seen) -> None:
        """Take our sequence numbers from our SYN, and our clock from the first TS val that the script names."""
        if seen.flags & SYN and (self.local_offset is None or not seen.flags & ACK):
            self.local_offset = (seen.seq - expected.seq) % _MODULO
        theirs, ours = stamps_of(expected.options or ()), stamps_of(seen.options)
        if theirs is not None and ours is not None:
            self.stamps[theirs[0]] = ours[0]
            if self.stamp_offset is None:
                self.stamp_offset = (ours[0] - theirs[0]) % _MODULO

    def note_sent(self, seen: Seen) -> None:
        """seen: in the script's numbers."""
        length = seen.size + bool(seen.flags & SYN) + bool(seen.flags & FIN)
        self.sent_end = max(self.sent_end, seen.seq + length)

    def as_script(self, seen: Seen) -> Seen:
        """The same segment in the script's numbers."""
        offset = self.local_offset or 0
        options = tuple(self._option_as_script(option) for option in seen.options)
        ack = (seen.ack - self.remote_offset) % _MODULO if seen.flags & ACK else 0
        return seen._replace(seq=(seen.seq - offset) % _MODULO, ack=ack, options=options)

    def _option_as_script(self, option: Option) -> Option:
        match option:
            case ("TS", value, echo):
                return "TS", (value - (self.stamp_offset or 0)) % _MODULO, echo
            case ("sack", *blocks):
                return "sack", *(
                    ((left - self.remote_offset) % _MODULO, (right - self.remote_offset) % _MODULO)
                    for left, right in blocks
                )
        return option

    # into the stack

    def seq_to_wire(self, seq: int) -> int:
        return (seq + self.remote_offset) % _MODULO

    def ack_to_wire(self, ack: int) -> int:
        return (ack + (self.local_offset or 0)) % _MODULO

    def option_to_wire(self, option: Option) -> Option:
        match option:
            case ("TS", value, echo):
                known = self.stamps.get(echo)
                if known is None:
                    known = (echo + (self.stamp_offset or 0)) % _MODULO if echo else 0
                return "TS", value, known
            case ("sack", *blocks):
                return "sack", *((self.ack_to_wire(left), self.ack_to_wire(right)) for left, right in blocks)
        return option


def stamps_of(options: tuple[Option, ...]) -> tuple[int, int] | None:
    """TS val and ecr, if there are any."""
    for option in options:
        if option[0] == "TS":
            return option[1], option[2]
    return None
