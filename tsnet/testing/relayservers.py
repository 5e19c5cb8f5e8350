"""The servers of one relay region of an embedded tailnet: a DERP relay and STUN, with their key, certificate and ports.

    open ─► running ─┬─ close: goodbye ──────────────► closed ─► open …     the same key, the same ports
                     ├─ kill: links end, no goodbye ─► closed
                     └─ silence ─► silent ─► kill ───► closed

Everything here belongs to the thread that runs the servers.

Source: none.
Not here: the machines (`tsnet.derp.server`, `tsnet.edge.run.servers`), what a test does with a relay (`relays`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.config import check_types
from tsnet.control.server.snapshot import KeptRelay
from tsnet.derp.server import Relay
from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.world import UdpPort, World
from tsnet.edge.run.host import Host
from tsnet.edge.run.servers import ServerPump, StunPump
from tsnet.errors import ConfigError
from tsnet.netmap.model import DerpNode, DerpRegion
from tsnet.testing.bytestreams import SimulatedListener
from tsnet.testing.ports import ServerPort

RELAY, STUN = "relay", "stun"

Mangle = Callable[[NodeKey, NodeKey, list[bytes]], list[bytes]]


class RelayServers:
    """region: the number in the DERP map. code, name: as people see them. hosts: the addresses, one of an IP version.

    world: the machine that they run on; None is the host's own. admit: whether the relay takes a client.
    is_beside_control: whether they listen at control's address, so that they can be made again without being told.
    """

    def __init__(
        self,
        host: Host,
        region: int,
        *,
        code: str,
        name: str = "",
        hosts: Sequence[str],
        derp_port: int = 0,
        stun_port: int = 0,
        world: World | None = None,
        is_beside_control: bool = True,
        tls: bool = True,
        may_be_home: bool = True,
        limits: LinkLimits,
        admit: Callable[[NodeKey], bool],
        mangle: Mangle | None = None,
    ) -> None:
        check_types(derp_port=derp_port, stun_port=stun_port)
        self.region = region
        self.code = code
        self.name: str = name or code.capitalize()
        self.hosts: tuple[str, ...] = _one_of_a_version(hosts)
        self.limits = limits
        self.derp: ServerPort = ServerPort(RELAY, derp_port)
        self.stun: ServerPort = ServerPort(STUN, stun_port)
        self.pump: ServerPump | None = None
        self.stuns: list[StunPump] = []
        self._host = host
        self._own_world = world
        self._is_beside_control = is_beside_control
        self._tls = tls
        self._may_be_home = may_be_home
        self._admit = admit
        self._mangle = mangle
        self._key: NodePrivateKey | None = None
        self._certificate = ""

    @property
    def machine(self) -> Relay | None:
        """The relay itself, while it is open."""
        machine = None if self.pump is None else self.pump.machine
        return machine if isinstance(machine, Relay) else None

    @property
    def is_silent(self) -> bool:
        return self.pump is not None and self.pump.is_silent

    @property
    def definition(self) -> DerpRegion:
        """The region as the DERP map has it."""
        addresses = {6 if ":" in host else 4: host for host in self.hosts}
        node = DerpNode(
            name=f"{self.region}a",
            region_id=self.region,
            host_name=self.hosts[0],
            ipv4=addresses.get(4, "none"),
            ipv6=addresses.get(6, "none"),
            derp_port=self.derp.number,
            stun_port=self.stun.number,
            insecure_for_tests=True,
            stun_test_ip=self.hosts[0] if len(self.hosts) == 1 else "",
        )
        return DerpRegion(self.region, self.code, self.name, no_measure_no_home=not self._may_be_home, nodes=(node,))

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def _world(self) -> World:
        return self._host.world if self._own_world is None else self._own_world

    def open(self) -> None:
        """Listen. Raises OSError if an address cannot be bound, MalformedError if its kept certificate is none."""
        world = self._world
        key = self.private_key()
        context = self._context() if self._tls and not world.is_virtual else None
        self.pump = self.derp.listen(
            world,
            self.hosts,
            lambda _port: Relay(
                key,
                entropy=world.entropy,
                admit=lambda key, _address: self._admit(key),
                mangle=self._mangle,
                now=world.clock(),
            ),
            limits=self.limits,
            ssl_context=context,
        )
        self._host.add(self.pump)
        self._open_stun(world)

    def _open_stun(self, world: World) -> None:
        """One socket an address; in a virtual world one for all, because a number belongs to the machine there."""
        hosts = ("",) if world.is_virtual and len(self.hosts) > 1 else self.hosts
        for host in hosts:
            stun = StunPump()

            def bind(number: int, host: str = host, stun: StunPump = stun) -> UdpPort:
                return world.open_udp(number, stun.mark, host=host)

            stun.udp = bind(self.stun.number) if self.stuns else self.stun.bind(bind)
            self.stun.number = stun.udp.local_port
            self.stuns.append(stun)
            self._host.add(stun)

    def close(self) -> None:
        """End in order, if they run: clients are told."""
        if self.is_silent:
            self.kill()
        pump, self.pump = self.pump, None
        if pump is not None and self._host.remove(pump):
            pump.close()
        self._close_stun()

    def kill(self) -> None:
        """End as if the process died: links end, and nobody is told."""
        pump, self.pump = self.pump, None
        if pump is not None:
            self._host.remove(pump)
            for listener in _simulated(pump):
                listener.is_silent = False
                listener.cut()
            pump.drop()
        self._close_stun()

    def silence(self) -> None:
        """Answer nothing any more. Links stay as they are. `kill` or `close` ends that."""
        if self.pump is not None:
            self.pump.silence()
            for listener in _simulated(self.pump):
                listener.is_silent = True
        for stun in self.stuns:
            stun.is_silent = True

    def lost(self) -> None:
        """The thread that ran them has died."""
        self.pump = None
        self.stuns.clear()

    def _close_stun(self) -> None:
        stuns, self.stuns = self.stuns, []
        for stun in stuns:
            if self._host.remove(stun):
                stun.close()

    # --- over a restart ---------------------------------------------------------------------------------------------

    def private_key(self) -> NodePrivateKey:
        """Its key, made at first need."""
        self._key = self._key or NodePrivateKey(self._host.world.entropy(32))
        return self._key

    def begin_anew(self) -> None:
        """Become a relay with another key and certificate."""
        self._key, self._certificate = None, ""

    def take_on(self, kept: KeptRelay) -> None:
        """Become the relay of last time."""
        self._key, self._certificate = kept.key, kept.certificate
        self.derp.take_on(kept.derp_port)
        self.stun.take_on(kept.stun_port)

    def kept(self) -> KeptRelay:
        return KeptRelay(
            self.region,
            self.code,
            self.name,
            self.private_key(),
            self._certificate,
            self.derp.number,
            self.stun.number,
            self._is_beside_control,
        )

    def _context(self) -> Any:
        """A context with the certificate of last time, if it names our addresses, else with a new one."""
        from tsnet.testing import certificate

        names = {*self.hosts, "localhost"}
        if not self._certificate or not certificate.is_good_for(self._certificate, names):
            self._certificate = certificate.make_certificate(names)
        return certificate.server_context(self._certificate, node_public(self.private_key()))


def _simulated(pump: ServerPump) -> list[SimulatedListener]:
    return [port for port in pump.ports if isinstance(port, SimulatedListener)]


def _one_of_a_version(hosts: Sequence[str]) -> tuple[str, ...]:
    found = tuple(hosts)
    if not found or len({":" in host for host in found}) != len(found):
        raise ConfigError(f"a relay listens on an IPv4 address, an IPv6 address or one of each, not {list(hosts)!r}")
    return found
