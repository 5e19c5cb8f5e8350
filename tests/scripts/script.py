"""What a script says, after parsing: events in their order, each with its time.

    Script     options (`--name=value`) and events
    Event      a line, a When, and one of:
        Segment | Icmp | Udp     with `inbound`: injected (`<`) or expected (`>`)
        Call                     a system call and what it must return
        Code                     a Python block over tcp_info
        Shell                    a command line in backquotes

Values in calls are `...` (Ellipsis: anything), int, bytes (a quoted text), a frozenset of names (`O_RDWR|O_NONBLOCK`),
a list, or a Struct.

Not here: how it is written (`parser`, `packets`, `values`), what it does (`runner`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any, NamedTuple

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
FLAG_LETTERS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR}
"""In the order in which they are written."""

Option = tuple[Any, ...]
"""("mss", 1000), ("nop",), ("eol",), ("sackOK",), ("wscale", 7), ("TS", value, echo), ("sack", (left, right), …)."""


class ScriptError(Exception):
    """The text is no script that this interpreter knows."""


class When(NamedTuple):
    """`0`, `+.1`, `*`, `+.1~+.2`, `+0...0.2`."""

    kind: str
    """at: since the script's start. after: since the event before. any: whenever."""
    start: float = 0.0
    end: float | None = None
    """The end of a range in which it may happen."""
    returns: float | None = None
    """When the call that blocks must return."""


class Segment(NamedTuple):
    inbound: bool
    flags: int
    seq: int
    size: int
    ack: int | None = None
    window: int | None = None
    urgent: int = 0
    options: tuple[Option, ...] | None = ()
    """None: `<...>`, whatever they are."""
    ecn: int | None = None
    """The two bits of the IP header, where they are given."""
    ports: tuple[int, int] | None = None


class Icmp(NamedTuple):
    inbound: bool
    type: str
    code: str | None = None
    mtu: int = 0
    quoted: tuple[int, int] | None = None
    """Sequence number and size of the segment of ours that it answers."""


class Udp(NamedTuple):
    inbound: bool
    size: int


class Struct(NamedTuple):
    """`{onoff=1, linger=0}` by name, `{..., 40}` in order."""

    fields: Mapping[str, Any]
    items: tuple[Any, ...]


Value = EllipsisType | int | bytes | frozenset[str] | list[Any] | Struct


class Call(NamedTuple):
    name: str
    arguments: tuple[Any, ...]
    result: int | None
    """None: `= ?`, whatever it is."""
    error: str | None
    text: str


class Code(NamedTuple):
    text: str


class Shell(NamedTuple):
    text: str


Packet = Segment | Icmp | Udp
Action = Packet | Call | Code | Shell


class Event(NamedTuple):
    line: int
    when: When
    action: Action


class Script(NamedTuple):
    options: Mapping[str, str]
    events: tuple[Event, ...]
