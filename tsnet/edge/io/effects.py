"""Effects of links, each handed to the function that carries it out. The real edge and the simulated one share it.

Not here: what the functions do (`links`, `tsnet.testing.bytestreams`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import assert_never

from tsnet.base.links import Close, Compute, Data, Datagrams, Effect, Link, LookUp, Open, OpenUdp, Pause, Resume


class EffectPort(ABC):
    """A port opens nothing by itself: that of a listener has only the links that others have opened to it."""

    def apply(self, effect: Effect) -> None:
        match effect:
            case Data():
                self._write(effect)
            case Close(link, abort):
                if abort:
                    self._abort(link)
                self._close(link)
            case Compute():
                self._compute(effect)
            case Pause(link):
                self._set_paused(link, paused=True)
            case Resume(link):
                self._set_paused(link, paused=False)
            case Open():
                self._open(effect)
            case OpenUdp():
                self._open_udp(effect)
            case Datagrams():
                self._send_datagrams(effect)
            case LookUp():
                self._look_up(effect)
            case _:
                assert_never(effect)

    @abstractmethod
    def _write(self, effect: Data) -> None: ...

    @abstractmethod
    def _abort(self, link: Link) -> None:
        """Forget what is queued; `_close` follows."""

    @abstractmethod
    def _close(self, link: Link) -> None: ...

    @abstractmethod
    def _compute(self, effect: Compute) -> None: ...

    @abstractmethod
    def _set_paused(self, link: Link, *, paused: bool) -> None: ...

    def _open(self, effect: Open) -> None:
        raise ValueError(f"a listener cannot open {effect.link!r}")

    def _open_udp(self, effect: OpenUdp) -> None:
        raise ValueError(f"a listener cannot open {effect.link!r}")

    def _send_datagrams(self, effect: Datagrams) -> None:
        raise ValueError(f"a listener has no {effect.link!r}")

    def _look_up(self, effect: LookUp) -> None:
        raise ValueError(f"a listener cannot look up {effect.link!r}")
