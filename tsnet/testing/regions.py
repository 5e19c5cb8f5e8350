"""The relay regions of an embedded tailnet: which there are, and what control tells the nodes of them.

    with Tailnet(regions=2) as tailnet:             two relay regions, each with a relay and STUN
        home, other = tailnet.relays
        home.kill()                                 the nodes move to the other one

    tailnet.add_region("far", world=world.machine("far"))      another one, on a machine of a simulated world

A region that is added or removed, or whose ports have changed, is told to every node at once.

Source: Go tailcfg.DERPMap.
Not here: one relay and its faults (`relays`, `relayservers`), the tailnet's life (`tailnet`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.wording import Wording, api
from tsnet.config import check_type
from tsnet.control import tailcfg
from tsnet.control.server.snapshot import FIRST_REGION as REGION
from tsnet.control.server.snapshot import KeptRelay
from tsnet.edge.io.descriptors import told_when_out
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.world import World
from tsnet.errors import ConfigError, StateError
from tsnet.netmap.merge import DerpMapUpdate
from tsnet.netmap.model import DerpMap, DerpRegion
from tsnet.testing.planned import PlannedFaults
from tsnet.testing.relays import EmbeddedRelay
from tsnet.testing.relayservers import Mangle, RelayServers

CODE = "embedded"
PORTS = "the ports of an embedded tailnet"
MAX_REGIONS = 64


class Regions(PlannedFaults):
    """A base of `Tailnet`."""

    address: str
    _limits: Callable[[], LinkLimits]
    _link_limits: LinkLimits
    _mangle: Mangle | None
    _own_world: World | None
    _running: bool
    _store_name: str
    _tls: bool
    _verify_clients: bool

    def _begin_regions(self, regions: int | None, derp_port: int, stun_port: int) -> None:
        """Have as many as were asked for. The ports are those of the first one."""
        self._relays: dict[int, RelayServers] = {}
        """By region, in the order in which they were added."""
        self._told_regions: dict[int, DerpRegion] = {}
        self._regions = regions
        for number in range(_how_many(regions)):
            self._add(number=REGION + number, derp_port=derp_port, stun_port=stun_port)
            derp_port = stun_port = 0

    def _restore_regions(self, kept: tuple[KeptRelay, ...]) -> None:
        """Become the relays of last time; if nobody says how many regions there are, have those of last time."""
        for relay in kept:
            if self._regions is None and relay.is_beside_control and relay.region not in self._relays:
                self._add(relay.code, name=relay.name, number=relay.region)
            if relay.region in self._relays:
                self._relays[relay.region].take_on(relay)

    @property
    def derp_map(self) -> dict[str, Any]:
        """The relay map as control sends it (tailcfg.DERPMap in JSON)."""
        regions = self._state.derp_map.regions
        return tailcfg.encode_derp_map(DerpMapUpdate(regions, omit_default_regions=True))

    @property
    def relays(self) -> tuple[EmbeddedRelay, ...]:
        """The relay regions, in the order in which they were added."""
        return tuple(EmbeddedRelay(self, servers) for servers in self._relays.values())

    def relay(self, region: int) -> EmbeddedRelay:
        """The relay of that region."""
        if region not in self._relays:
            raise ConfigError(f"this Tailnet has no relay region {region!r}, only {', '.join(map(str, self._relays))}")
        return EmbeddedRelay(self, self._relays[region])

    def add_region(
        self,
        code: str = "",
        *,
        name: str = "",
        host: str | Sequence[str] = (),
        derp_port: int = 0,
        stun_port: int = 0,
        may_be_home: bool = True,
        world: World | None = None,
    ) -> EmbeddedRelay:
        """Add a relay region, before the start or while it runs; every node learns of it at once.

        code: its short name, "embedded-2" and so on if not given. host: the address of its relay and STUN, or one of
        each IP version; else the tailnet's, or those of `world`. world: another machine of the tailnet's simulated
        world to run on. may_be_home: False for a relay that nodes only use to reach others.
        """
        for option, value in (("code", code), ("name", name)):
            check_type(option, value, (str,), "a text")
        check_type("may_be_home", may_be_home, (bool,), "True or False")
        check_type("host", host, (str, list, tuple), "an address, or a list of one of each IP version")
        options = {"derp_port": derp_port, "stun_port": stun_port, "may_be_home": may_be_home}
        number = max(self._relays, default=REGION - 1) + 1
        hosts = (host,) if isinstance(host, str) else host
        relay = self._add(code, name=name, number=number, host=hosts, world=world, **options)
        if self._running:

            def begin() -> None:
                try:
                    self._open_relay(relay)
                except BaseException:
                    relay.close()
                    del self._relays[number]
                    raise

            self._do(begin)
        return EmbeddedRelay(self, relay)

    def remove_region(self, region: int) -> None:
        """End that relay, and take the region out of every node's map."""
        self.relay(region)

        def remove() -> None:
            self._relays.pop(region).close()
            self._tell_regions()

        self._do(remove) if self._running else self._relays.pop(region)

    def refused(self) -> dict[str, int]:
        """How many connections control and the relays have turned away, by reason."""

        def refused() -> dict[str, int]:
            limits = (self._link_limits, *(relay.limits for relay in self._relays.values()))
            return dict(sum((one.refused for one in limits), Counter()))

        return self._do(refused)

    def restart_derp(self) -> None:
        """Cut every relay connection and listen again, with the same keys."""
        for relay in self.relays:
            relay.restart()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _add(
        self, code: str = "", *, number: int, world: World | None = None, host: Sequence[str] = (), **options: Any
    ) -> RelayServers:
        code = code or (CODE if number == REGION else f"{CODE}-{number - REGION + 1}")
        if number in self._relays or any(relay.code == code for relay in self._relays.values()):
            raise ConfigError(f"this Tailnet has a relay region {number} or {code!r} already")
        relay = self._relays[number] = RelayServers(
            self._host,
            number,
            code=code,
            hosts=tuple(host) or _own_addresses(world) or (self.address,),
            world=self._own_world if world is None else world,
            is_beside_control=world is None and not host,
            tls=self._tls,
            limits=self._limits(),
            admit=self._admits,
            mangle=self._mangle,
            **options,
        )
        return relay

    def _open_relay(self, servers: RelayServers) -> None:
        """Let them listen, and tell the nodes where."""
        if self._relays.get(servers.region) is not servers:
            raise ConfigError(f"relay region {servers.region} was removed from this Tailnet")
        with told_when_out(PORTS):
            try:
                servers.open()
            except MalformedError as error:
                raise StateError(
                    f"the tailnet's state {self._store_name} {error}. Restore it from a backup, or choose another "
                    "directory"
                ) from None
        self._tell_regions()

    def _admits(self, key: NodeKey) -> bool:
        """Whether the relays take a client. Control knows a node before the node learns of the relays."""
        return not self._verify_clients or self._state.find(key) is not None

    def _name_of(self, key: NodeKey) -> str:
        member = self._state.find(key)
        return "" if member is None else member.name

    def _tell_regions(self) -> None:
        """Let control tell the nodes of the regions as they are now."""
        regions = {number: relay.definition for number, relay in self._relays.items()}
        if regions != self._told_regions:
            self._told_regions = regions
            self._state.derp_map = DerpMap(regions=regions, omit_default_regions=True)


def _how_many(regions: int | None) -> int:
    if regions is None:
        return 1
    if type(regions) is not int or not 0 <= regions <= MAX_REGIONS:
        raise ConfigError(Wording(api("regions="), f" takes a number from 0 to {MAX_REGIONS}, not {regions!r}"))
    return regions


def _own_addresses(world: World | None) -> tuple[str, ...]:
    """Those of a machine of a simulated world."""
    found = (getattr(world, name, None) for name in ("v4", "v6"))
    return tuple(address for address in found if isinstance(address, str) and address)
