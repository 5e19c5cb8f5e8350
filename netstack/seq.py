"""Sequence numbers: 32 bits on the wire, unbounded inside.

Inside the stack a sequence number only grows, so that `<` is the right comparison. It is cut to 32 bits where it is
packed, and unwrapped where it is read: to the number nearest to one that is already known.

Source: RFC 9293 §3.4; RFC 7323 §5 for timestamps, which stay 32 bits wide.
"""

from __future__ import annotations

MASK = 0xFFFF_FFFF
HALF = 0x8000_0000


def unwrap(wire: int, near: int) -> int:
    """The number nearest to `near` that is `wire` in its low 32 bits; exactly half a circle away counts as behind."""
    return near + ((wire - near + HALF) & MASK) - HALF


def is_older(stamp: int, than: int) -> bool:
    """Whether one 32-bit timestamp is before another on the circle."""
    return (stamp - than) & MASK >= HALF
