"""Reno: one segment more a round trip, half as much after a loss.

Source: RFC 5681 as it stands. The slow, obvious twin in tests.
"""

from __future__ import annotations

from netstack.tcp.congestion import Congestion


class Reno(Congestion):
    """Everything is in the base: beta is 1/2, avoidance is additive."""

    __slots__ = ()
