"""Reno: the congestion window grows by one segment a round trip, and halves after a loss.

Source: RFC 5681.
"""

from __future__ import annotations

from netstack.tcp.congestion import Congestion


class Reno(Congestion):
    """The base class is Reno already: beta is 1/2, and congestion avoidance is additive."""

    __slots__ = ()
