"""`Homes` whose left router maps ports for whoever asks, and whose nodes ask."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

import attrs

from tests.lab.homes import Homes, Player, Seat, Who
from tests.lab.miniupnpd import Miniupnpd


class MappedHomes(Homes):
    """daemon: the left router's. upnp: it speaks nothing else, and our nodes are told that they may.

    In other scenes of the lab nobody asks for ports.
    """

    daemon: Miniupnpd

    def __init__(self, folder: Path, left: str, right: str, who: tuple[Who, Who], *, upnp: bool = False) -> None:
        super().__init__(folder, left, right, who)
        self._upnp = upnp
        self._daemons = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._daemons.close()
        super().__exit__()

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def seats(self) -> list[Seat]:
        asking = {"TS_DISABLE_PORTMAPPER": "0", "TSNET_UPNP": "1" if self._upnp else "0"}
        return [attrs.evolve(seat, environment=asking) for seat in super().seats()]

    def _player(self, seat: Seat) -> Player:
        if seat.side is self.internet.left:
            daemon = Miniupnpd(self.internet.scene, seat.side, pmp=not self._upnp, upnp=self._upnp)
            self.daemon = self._daemons.enter_context(daemon)
        return super()._player(seat)
