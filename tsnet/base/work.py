"""Work: how much of one turn goes into what others have sent, so that nobody's input keeps the rest waiting.

    turn    TURN units for all connections of a server     what is left over is read in the next turn, which is due
    share   of one connection, in each turn                at once; the connection is `Pause`d until then

A unit is about ten microseconds. Whoever takes input apart spends a unit or more for each piece, by what such a piece
costs at most, and stops when none is left. The last piece may overdraw.
"""

from __future__ import annotations


class Work:
    """`left`: units that may still be spent; at 0 or below, stop."""

    __slots__ = ("left",)

    def __init__(self, units: float) -> None:
        self.left: float = units

    def spend(self, units: float) -> None:
        self.left -= units


UNLIMITED = float("inf")


def share(total: int, waiting: int, least: int, most: int) -> int:
    """What each of `waiting` connections gets of a turn's total: an equal part within these bounds."""
    return max(least, min(most, total // max(waiting, 1)))
