"""What a connection asks of the layer that owns it: its turn, its end, and a word to the application.

`arrive`, `timers`, `connection` and `listener` know the layer by this face alone, and the layer knows them.
"""

from __future__ import annotations

from typing import Protocol

from netstack.tcp.tcb import Tcb


class Owner(Protocol):
    """`layer.TcpLayer`."""

    def touch(self, tcb: Tcb) -> None:
        """Something happened to the connection: it gets its turn."""

    def ready(self, tcb: Tcb) -> None:
        """Something changed that the application can see."""

    def count(self, reason: str) -> None:
        """A segment is dropped."""

    def establish(self, tcb: Tcb, now: float, *, is_bare: bool = False) -> bool:
        """The handshake is over. False if its listener does not take it: then it is not, yet."""

    def is_passive(self, tcb: Tcb) -> bool:
        """Whether it is half-open at a listener, unknown to the application."""

    def queue_fin(self, tcb: Tcb) -> None:
        """Our stream ends behind what is buffered."""

    def linger(self, tcb: Tcb, now: float) -> None:
        """Nobody waits for the peer's FIN but the stack, and it not for ever."""

    def enter_time_wait(self, tcb: Tcb, now: float) -> None:
        """Both streams have ended; a record stays."""

    def abort(self, tcb: Tcb, error: str | None, now: float) -> None:
        """End the connection from this side, with a RST to the peer unless it has not answered yet."""

    def end(self, tcb: Tcb, error: str | None) -> None:
        """The connection is over."""

    def send_reset(self, tcb: Tcb, *, seq: int, now: float) -> None:
        """A RST at a sequence number that the peer has acknowledged without reason."""
