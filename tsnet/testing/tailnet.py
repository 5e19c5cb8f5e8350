"""An embedded tailnet: control, a DERP relay and STUN in this process, on loopback. No account, no network.

    with Tailnet() as tailnet:
        with tsnet.Server("shop", control_url=tailnet.control_url, auth_key=tailnet.auth_key) as node: ...

    async with Tailnet() as tailnet: ...            the same, in asyncio or trio

The machines are `control.server` and `derp.server`, the ones that real Go clients are tested against; they run in the
same loop as the nodes. The relay's port speaks TLS (self-signed) and plain HTTP, told apart by the first byte.

Not here: a simulated world (`simulated`), the pytest fixture (`plugin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tsnet.base.addresses import IPAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.control import tailcfg
from tsnet.control.members import Member
from tsnet.control.policy import ALLOW_ALL, Policy
from tsnet.control.server import Server as ControlServer
from tsnet.control.tailnet import TailnetState
from tsnet.derp.server import Relay
from tsnet.edge.io.link_limits import MAX_LINKS, MAX_LINKS_OF_A_SOURCE, LinkLimits
from tsnet.edge.io.world import ListenPort, World
from tsnet.edge.pipes.operations import Operation, wait
from tsnet.edge.run.host import Host, default_host, host_for
from tsnet.edge.run.servers import ServerPump, StunPump
from tsnet.errors import ConfigError, NotUp
from tsnet.netmap.merge import DerpMapUpdate
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion

T = TypeVar("T")
REGION = 900


class Tailnet:
    """A tailnet of one's own.

    policy: rules such as {"src": ["*"], "dst": ["tag:web:80,443"]}; None allows everything.
    user: the login of who owns nodes that join with `auth_key`.
    host: the address to listen on; the ports default to free ones.
    tls: False leaves the relay plain HTTP (clients then need TS_DEBUG_USE_DERP_HTTP=1).
    max_connections, max_connections_per_source: how many control and the relay each keep; a node needs one of either,
    and while it joins two of control's. A source is a v4 address or a v6 /64: all nodes of another machine are one.
    Those on the loopback of this one are bounded by max_connections alone.
    world: for tests in virtual time; use `async with`.
    """

    def __init__(
        self,
        *,
        base_domain: str = "tailnet.test",
        policy: Iterable[Mapping[str, Any]] | None = None,
        tag_owners: Mapping[str, Iterable[str]] | None = None,
        user: str = "you@tailnet.test",
        host: str = "127.0.0.1",
        control_port: int = 0,
        derp_port: int = 0,
        stun_port: int = 0,
        tls: bool = True,
        max_connections: int = MAX_LINKS,
        max_connections_per_source: int = MAX_LINKS_OF_A_SOURCE,
        mangle: Callable[[NodeKey, NodeKey, list[bytes]], list[bytes]] | None = None,
        world: World | None = None,
    ) -> None:
        self.base_domain = base_domain
        self.user = user
        self.address = host
        self.auth_key = ""
        self._ports = [control_port, derp_port, stun_port]
        self._tls = tls
        self._mangle = mangle
        self._link_limits = [LinkLimits(max_connections, max_connections_per_source) for _ in range(2)]
        self._host: Host = default_host() if world is None else host_for(world)
        entropy = self._host.world.entropy
        rules = ALLOW_ALL if policy is None else Policy.parse(policy, tag_owners)
        self._state = TailnetState(entropy=entropy, base_domain=base_domain, policy=rules)
        self._machine_key = MachinePrivateKey(entropy(32))
        self._derp_key = NodePrivateKey(entropy(32))
        self._control: ServerPump | None = None
        self._relay: ServerPump | None = None
        self._stun: StunPump | None = None
        self._running = False

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises OSError if an address cannot be bound."""
        self._begin(self._open).result()

    def close(self) -> None:
        """End every connection and free the ports. Idempotent."""
        if self._running:
            self._running = False
            self._call(self._shut).result()

    def __enter__(self) -> Tailnet:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Tailnet:
        await self._await(self._begin(self._open))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._running:
            self._running = False
            await self._await(self._call(self._shut))

    def _begin(self, function: Callable[[], T]) -> Operation[T]:
        if self._running:
            raise ConfigError("this Tailnet runs already")
        self._running = True
        self._host.acquire()
        return self._call(function)

    def _open(self) -> None:
        try:
            self._start_relay()
            self._start_stun()
            self._state.derp_map = self._derp_map()
            self._start_control()
        except BaseException:
            self._shut()
            raise
        self.auth_key = self._state.create_auth_key(self.user, reusable=True).text

    def _shut(self) -> None:
        for pump in (self._control, self._relay, self._stun):
            self._stop(pump)
        self._control = self._relay = self._stun = None
        self._running = False
        self._host.release()

    def _stop(self, pump: ServerPump | StunPump | None) -> None:
        if pump is not None and self._host.remove(pump):
            pump.close()

    # --- the three servers ----------------------------------------------------------------------------------

    def _start_control(self) -> None:
        world = self._host.world
        now = world.clock()
        self._control = self._listen(
            0,
            lambda port: ControlServer(
                self._state,
                self._machine_key,
                entropy=world.entropy,
                base_url=f"http://{_authority(self.address, port)}",
                wall_offset=world.wall() - now,
                now=now,
            ),
        )

    def _start_relay(self) -> None:
        world = self._host.world
        context = None
        if self._tls and not world.is_virtual:
            from tsnet.testing.certificate import self_signed

            context = self_signed({self.address, "localhost"}, node_public(self._derp_key))
        self._relay = self._listen(
            1,
            lambda _port: Relay(self._derp_key, entropy=world.entropy, mangle=self._mangle, now=world.clock()),
            context,
        )

    def _start_stun(self) -> None:
        self._stun = StunPump()
        self._stun.udp = self._host.world.open_udp(self._ports[2], self._stun.mark)
        self._ports[2] = self._stun.udp.local_port
        self._host.add(self._stun)

    def _listen(self, index: int, make: Callable[[int], Any], ssl_context: Any = None) -> ServerPump:
        """Bind first: the machine wants to know its port."""
        pump: list[ServerPump] = []
        port: ListenPort = self._host.world.listen(
            self.address,
            self._ports[index],
            lambda: pump[0].mark() if pump else None,
            ssl_context=ssl_context,
            sniff_tls=ssl_context is not None,
            limits=self._link_limits[index],
        )
        self._ports[index] = port.address[1]
        pump.append(ServerPump(make(port.address[1]), self._host.world))
        pump[0].add(port)
        self._host.add(pump[0])
        return pump[0]

    def _derp_map(self) -> DerpMap:
        version = 6 if ":" in self.address else 4
        node = DerpNode(
            name=f"{REGION}a",
            region_id=REGION,
            host_name=self.address,
            ipv4=self.address if version == 4 else "none",
            ipv6=self.address if version == 6 else "none",
            derp_port=self._ports[1],
            stun_port=self._ports[2],
            insecure_for_tests=True,
            stun_test_ip=self.address,
        )
        region = DerpRegion(region_id=REGION, code="embedded", name="Embedded", nodes=(node,))
        return DerpMap(regions={REGION: region}, omit_default_regions=True)

    # --- what a test or a demo does with it -----------------------------------------------------------------

    @property
    def control_url(self) -> str:
        return f"http://{_authority(self.address, self._ports[0])}"

    @property
    def derp_map(self) -> dict[str, Any]:
        """As control sends it (tailcfg.DERPMap in JSON)."""
        regions = self._state.derp_map.regions
        return tailcfg.encode_derp_map(DerpMapUpdate(regions, omit_default_regions=True))

    def create_auth_key(
        self,
        user: str = "",
        *,
        reusable: bool = False,
        ephemeral: bool = False,
        tags: Iterable[str] = (),
        expires_in: float | None = None,
    ) -> str:
        """Another key, for this user or a new one. expires_in: seconds."""

        def create() -> str:
            expiry = None if expires_in is None else self._host.world.wall() + expires_in
            return self._state.create_auth_key(
                user or self.user, reusable=reusable, ephemeral=ephemeral, tags=tags, expires_at=expiry
            ).text

        return self._do(create)

    def approve(self, url: str, user: str = "") -> None:
        """Do what a person does at the login URL (the URL, or the id at its end)."""
        self._do(lambda: self._state.approve(url.rpartition("/")[2], user or self.user))

    def set_policy(
        self, policy: Iterable[Mapping[str, Any]] | None, tag_owners: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Replace the rules; every node gets its new packet filter at once."""
        rules = ALLOW_ALL if policy is None else Policy.parse(policy, tag_owners)
        self._do(lambda: setattr(self._state, "policy", rules))

    def nodes(self) -> dict[str, tuple[IPAddress, ...]]:
        """The nodes and their addresses, by name."""
        return self._do(lambda: {member.name: _ips(member) for member in self._state.members.values()})

    def online(self) -> frozenset[str]:
        """The nodes whose map stream is open."""
        return self._do(lambda: frozenset(m.name for m in self._state.members.values() if m.is_online))

    def refused(self) -> dict[str, int]:
        """How many connections control and the relay have turned away, by reason."""
        return self._do(lambda: dict(self._link_limits[0].refused + self._link_limits[1].refused))

    def remove(self, name: str) -> None:
        """Delete a node, as an administrator would."""
        self._do(lambda: self._state.delete(self._member(name)))

    def expire(self, name: str) -> None:
        """Let a node's key expire now."""
        self._do(lambda: self._state.expire(self._member(name), self._host.world.wall()))

    def restart_control(self) -> None:
        """Cut every connection to control and listen again, with the same state."""

        def restart() -> None:
            self._stop(self._control)
            self._start_control()

        self._do(restart)

    def restart_derp(self) -> None:
        """Cut every relay connection and listen again, with the same key."""

        def restart() -> None:
            self._stop(self._relay)
            self._start_relay()

        self._do(restart)

    def _member(self, name: str) -> Member:
        member = self._state.named(name)
        if member is None:
            raise ConfigError(f"no node of this tailnet is called {name!r}")
        return member

    # --- threads --------------------------------------------------------------------------------------------

    def _do(self, function: Callable[[], T]) -> T:
        """Run in the loop that owns the servers, and let them act on it at once."""
        if not self._running:
            raise NotUp("this Tailnet does not run: use `with Tailnet() as tailnet`")

        def act() -> T:
            try:
                return function()
            finally:
                if self._control is not None:
                    self._control.mark()

        if not self._host.own_thread:
            value = act()  # the caller's loop is the one
            self._host.wake()
            return value
        return self._call(act).result()

    def _call(self, function: Callable[[], T]) -> Operation[T]:
        operation: Operation[T] = Operation()

        def run() -> None:
            try:
                operation.resolve(function())
            except BaseException as error:
                operation.fail(error)

        self._host.call(run)
        return operation

    async def _await(self, operation: Operation[T]) -> T:
        if not self._host.own_thread:
            from tsnet.edge.run.caller_loop import start_driver

            start_driver(self._host)
        return await wait(operation)

    def __repr__(self) -> str:
        return f"<Tailnet {self.base_domain} at {self.control_url}>"


def _ips(member: Member) -> tuple[IPAddress, ...]:
    return tuple(prefix.network_address for prefix in member.addresses)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
