"""Pairs of homes that are no two homes with a router each.

| scene      | where the two are                                                           | direct by        |
|------------|-----------------------------------------------------------------------------|------------------|
| same LAN   | behind one easy router, which does not hairpin                              | local addresses  |
| containers | on one host, whose bridge masquerades, which is behind a router that does   | the bridge       |
| firewalls  | at public addresses; each host's firewall takes in nothing but answers      | public addresses |
| laptops    | behind easy routers, with such firewalls                                    | public addresses |
| dual       | both have IPv4 behind an easy router, and IPv6                              | either           |
| dual, hard | one has both, the other only IPv4 behind a hard router                      | nothing: a relay |
| dual, v6   | one has both, the other only IPv6                                           | IPv6             |
"""

from __future__ import annotations

from pathlib import Path

import attrs

from tests.lab.homes import Homes, Seat, Who


@attrs.frozen
class Place:
    """together: both behind the left router. firewalls: on the hosts."""

    left: str
    right: str
    together: bool = False
    firewalls: bool = False


SCENES = {
    "same LAN": Place("easy", "none", together=True),
    "containers": Place("cgnat", "none", together=True),
    "firewalls": Place("none", "none", firewalls=True),
    "laptops": Place("easy", "easy", firewalls=True),
    "dual": Place("dual", "dual"),
    "dual, hard": Place("dual", "hard"),
    "dual, v6": Place("dual", "v6"),
}


class Scenes(Homes):
    second_hosts = True

    def __init__(self, folder: Path, scene: str, who: tuple[Who, Who]) -> None:
        self.place = SCENES[scene]
        super().__init__(folder, self.place.left, self.place.right, who)

    def seats(self) -> list[Seat]:
        a, b = super().seats()
        return [a, attrs.evolve(b, side=a.side, host=1) if self.place.together else b]

    def _built(self) -> None:
        for side in self.internet.sides if self.place.firewalls else ():
            side.firewall_hosts()

    def where_b_is(self) -> set[str]:
        """The addresses of `b` that `a` may send to."""
        side = self.internet.left if self.place.together else self.internet.right
        if self.place.together:
            return {side.addresses[1]}
        return {side.public, side.public_v6} if side.kind.has_v6 else {side.public}
