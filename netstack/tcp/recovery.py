"""The repair of losses, as far as it is memory: the episode under way and the four algorithms that steer it.

    OPEN ----- something is lost ----> RECOVERY ---- all sent before it acknowledged ---> OPEN
      \\------- retransmission timer --> LOSS -------- the same -------------------------/
                                         either ---- undone: nothing had been lost ------/

    with SACK     `rack` finds losses, `tlp` makes the tail's visible, `frto` doubts a timeout
    without       three duplicate acknowledgements; then each partial one names the next loss (NewReno)
    both          `prr` meters what leaves in RECOVERY, `undo` remembers what to take back

Source: RFC 8985, RFC 9937, RFC 5682, RFC 6582, RFC 4015.
Not here: what an acknowledgement does to it (`acknowledge`).
"""

from __future__ import annotations

import math
from typing import Final

from netstack.tcp.frto import Frto
from netstack.tcp.prr import Prr
from netstack.tcp.rack import Rack
from netstack.tcp.tlp import TailLossProbe
from netstack.tcp.undo import Undo

OPEN: Final = 0
RECOVERY: Final = 1
LOSS: Final = 2


class Recovery:
    """Of one connection."""

    __slots__ = ("dsacks", "dupacks", "frto", "high_seq", "prr", "rack", "state", "timeout_time", "tlp", "undo")

    def __init__(self) -> None:
        self.state: int = OPEN
        self.high_seq: int = 0  # snd_nxt when the episode began
        self.timeout_time: float = -math.inf  # when the retransmission timer fired last
        self.dupacks: int = 0
        self.dsacks: int = 0  # duplicates that the peer has reported
        self.rack: Rack = Rack()
        self.tlp: TailLossProbe = TailLossProbe()
        self.prr: Prr = Prr()
        self.undo: Undo = Undo()
        self.frto: Frto = Frto()

    def resent(self, size: int, end: int, stamp: int) -> None:
        """A lost stretch went out again, `stamp` in its timestamp."""
        self.prr.out += size
        self.undo.resent(size, end, stamp)
