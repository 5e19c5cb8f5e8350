"""An embedded tailnet: control, a DERP relay and STUN in this process, on loopback. It needs no account, no network.

    with Tailnet() as tailnet:
        with tsnet.Server("shop", control_url=tailnet.control_url, auth_key=tailnet.auth_key) as node: ...

    async with Tailnet() as tailnet: ...            the same, in asyncio or trio

    with Tailnet(state="tailnet") as tailnet: ...   as it was when that directory was used last: keys, ports, nodes

The machines are `control.server` and `derp.server`, which real Go clients are tested against. They run in the same loop
as the nodes. The relay's port speaks TLS (self-signed) and plain HTTP; the first byte tells them apart.

Not here: what an administrator does (`administration`), relay regions and their faults (`regions`), a simulated world
(`simulated`), the pytest fixture (`plugin`), how the state is kept (`keeping`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tsnet.base.addresses import join_host_port
from tsnet.base.keys import MachinePrivateKey
from tsnet.base.wording import Wording, api
from tsnet.config import check_domain, check_limits, check_types
from tsnet.control.server.faults import Faults
from tsnet.control.server.policy import ALLOW_ALL, Policy
from tsnet.control.server.server import Server as ControlServer
from tsnet.control.server.snapshot import FIRST_REGION as REGION
from tsnet.control.server.snapshot import Snapshot
from tsnet.control.server.streams import Modify
from tsnet.control.server.tailnet import Refusal, TailnetState
from tsnet.edge.io.descriptors import told_when_out
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.link_limits import MAX_LINKS, MAX_LINKS_OF_A_SOURCE, LinkLimits
from tsnet.edge.io.place import directory_at
from tsnet.edge.io.store import Store
from tsnet.edge.io.world import World
from tsnet.edge.pipes.operations import Operation, wait
from tsnet.edge.run.endings import end_all
from tsnet.edge.run.host import Host, default_host, host_for
from tsnet.edge.run.servers import ServerPump
from tsnet.errors import ConfigError, Error, NotUp, StateLocked
from tsnet.testing.keeping import KEY, Keeper, load
from tsnet.testing.ports import CONTROL, ServerPort
from tsnet.testing.regions import PORTS, Regions
from tsnet.testing.relayservers import Mangle

__all__ = ["REGION", "Tailnet"]

T = TypeVar("T")


class Tailnet(Regions):
    """A tailnet of one's own.

    state: the directory in which it is kept: the keys and ports of its servers, users, nodes with their names and
    addresses, auth keys, the policy. A restart with the same directory is the same tailnet to its nodes, which come
    back by themselves. None: each start is a new tailnet. Logins that wait for a person are not kept.
    policy: rules such as {"src": ["*"], "dst": ["tag:web:80,443"]}. None: the rules that were kept, else all may.
    tag_owners: which users may give a tag to a node of theirs. None: those that were kept, else none.
    user: the login of the user who owns the nodes that join with `auth_key`.
    host: the one address that control, the relay and STUN listen on. The ports default to those of last time, else to
    free ones. derp_port and stun_port are those of the first region.
    regions: how many relay regions it begins with; `add_region` adds others. None: as many as were kept, else one.
    tls: False makes the relay speak plain HTTP only (clients then need TS_DEBUG_USE_DERP_HTTP=1).
    wants_approval: whether a node that joins waits for `approve(name)`, unless its auth key is preauthorized.
    verify_clients: whether the relay serves nodes of this tailnet only, as `derper --verify-clients` does.
    max_connections, max_connections_per_source: how many control and the relay each keep. A node needs one to each, and
    two to control while it joins. A source is a v4 address or a v6 /64, so all nodes of another machine are one source.
    Nodes on the loopback of this machine are bounded by max_connections alone.
    world: for tests in virtual time, the machine that control runs on; use `async with`.
    """

    def __init__(
        self,
        *,
        state: str | os.PathLike[str] | None = None,
        base_domain: str = "tailnet.test",
        policy: Iterable[Mapping[str, Any]] | None = None,
        tag_owners: Mapping[str, Iterable[str]] | None = None,
        user: str = "you@tailnet.test",
        host: str = "127.0.0.1",
        control_port: int = 0,
        derp_port: int = 0,
        stun_port: int = 0,
        tls: bool = True,
        verify_clients: bool = True,
        max_connections: int = MAX_LINKS,
        max_connections_per_source: int = MAX_LINKS_OF_A_SOURCE,
        wants_approval: bool = False,
        mangle: Mangle | None = None,
        regions: int | None = None,
        world: World | None = None,
    ) -> None:
        check_types(base_domain=base_domain, user=user, host=host, tls=tls, wants_approval=wants_approval)
        check_domain(base_domain)
        check_types(control_port=control_port, derp_port=derp_port, stun_port=stun_port)
        check_limits(max_connections=max_connections, max_connections_per_source=max_connections_per_source)
        self.base_domain = base_domain
        self.user = user
        self.address = host
        self.auth_key: str = ""
        self._port = ServerPort(CONTROL, control_port)
        self._tls = tls
        self._verify_clients = verify_clients
        self._wants_approval = wants_approval
        self._mangle = mangle
        self._modify_first_map: Modify | None = None
        self._faults = Faults()
        self._limits = functools.partial(LinkLimits, max_connections, max_connections_per_source)
        self._link_limits = self._limits()
        self._host: Host = default_host() if world is None else host_for(world)
        self._own_world = world
        self._tenant = _Tenant(self)
        self._store: Store | None = None if state is None else _directory(state)
        self._store_name = "" if not isinstance(self._store, DirectoryStore) else str(self._store.file(KEY))
        self._keeper: Keeper | None = None
        self._rules = None if policy is None else Policy.parse(policy).rules
        self._tag_owners = None if tag_owners is None else Policy.parse((), tag_owners).tag_owners
        self._control: ServerPump | None = None
        self._running = False
        self._begin_regions(regions, derp_port, stun_port)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Become a tailnet without users or nodes, whose servers have new keys."""
        entropy = self._host.world.entropy
        self._machine_key = MachinePrivateKey(entropy(32))
        for relay in self._relays.values():
            relay.begin_anew()
        self._told_regions = {}
        self._state = TailnetState(entropy=entropy, base_domain=self.base_domain)
        self._state.policy = self._wanted_policy(ALLOW_ALL)
        self._state.wants_approval = self._wants_approval

    def _wanted_policy(self, otherwise: Policy) -> Policy:
        """The policy of the options. What they leave out is as in `otherwise`."""
        rules = otherwise.rules if self._rules is None else self._rules
        owners = otherwise.tag_owners if self._tag_owners is None else self._tag_owners
        return Policy(rules, owners)

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises OSError if an address cannot be bound, StateError if `state` cannot be used, and NotUp in the
        nodes' own thread, which cannot wait.

        An interrupted call (Ctrl-C) leaves nothing behind.
        """
        if self._host.is_here():
            raise NotUp("the nodes' own thread cannot wait for a Tailnet: start it in another one")
        self._check_it_does_not_run()
        try:
            self._begin().result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every connection and free the ports. May be called twice. Raises StateError if the state cannot be saved.

        An interrupted call goes on in the background, and so does a call in the nodes' own thread.
        """
        closing = self._end()
        if closing is not None and not self._host.is_here():
            closing.wait()
            closing.outcome()

    def __enter__(self) -> Tailnet:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Tailnet:
        self._check_it_does_not_run()
        try:
            await self._await(self._begin())
        except BaseException:
            await self._aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._aclose()

    async def _aclose(self) -> None:
        import anyio

        closing = self._end()
        if closing is not None:
            with anyio.CancelScope(shield=True):
                await self._await(closing)

    def _check_it_does_not_run(self) -> None:
        if self._running:
            raise ConfigError("this Tailnet runs already")

    def _begin(self) -> Operation[None]:
        self._running = True
        try:
            self._take_state()
        except StateLocked:  # somebody else's, or our own from a close that goes on in the background: not ours to end
            self._running = False
            raise
        except BaseException:
            self._running = False
            self._leave_state()
            raise

        def begin(operation: Operation[None]) -> None:
            def failed(error: BaseException) -> None:
                self._stop_servers()
                self._leave_state()
                self._host.release(self._tenant)
                operation.fail(error)

            self._run_kept(self._open, operation.resolve, failed)

        return self._host.operation(begin, self._tenant, acquire=True)

    def _open(self) -> None:
        if self._store is not None:
            self._keeper = Keeper(self._store, self._state, self._host.world, self._snapshot, self._kept)
            self._host.add(self._keeper)
        for relay in self._relays.values():
            self._open_relay(relay)
        self._tell_regions()
        with told_when_out(PORTS):
            self._start_control()
        self._choose_auth_key()

    def _end(self) -> Operation[None] | None:
        """Begin to end. Returns the operation to wait for, or None if there is none."""
        if not self._running:
            return None
        if not self._host.holds(self._tenant):  # it has not begun, or its thread is gone
            self._lost()
            return None

        def end(operation: Operation[None]) -> None:
            def ended(error: Error | None = None) -> None:
                self._host.release(self._tenant)
                operation.resolve(None) if error is None else operation.fail(error)

            keeper = self._keeper
            self._stop_servers()
            if keeper is None:
                self._leave_state()
                ended()
            else:
                keeper.close(ended)

        return self._host.operation(end, self._tenant).begin()

    def _lost(self) -> None:
        """The host's thread has died, and the servers with it."""
        self._keeper = self._control = None
        for relay in self._relays.values():
            relay.lost()
        self._running = False
        self._leave_state()

    def _stop_servers(self) -> None:
        pumps = (self._keeper, self._control)
        self._keeper = self._control = None
        self._running = False
        relays = [relay.close for relay in self._relays.values()]
        end_all("an embedded tailnet", [*(functools.partial(self._stop, pump) for pump in pumps), *relays])

    def _stop(self, pump: ServerPump | Keeper | None) -> None:
        if pump is not None and self._host.remove(pump) and not isinstance(pump, Keeper):
            pump.close()

    # --- over a restart -------------------------------------------------------------------------------------

    def _take_state(self) -> None:
        """Open the store and become the tailnet that it has. This reads files, in the caller's thread."""
        if self._store is None:
            return
        self._store.open()
        kept = load(self._store, self._store_name)
        self._begin_anew()
        if kept is not None:
            self._restore(kept)

    def _leave_state(self) -> None:
        if self._store is not None:
            self._store.close()

    def _restore(self, kept: Snapshot) -> None:
        self._machine_key, self.auth_key = kept.control_key, kept.auth_key
        self._port.take_on(kept.control_port)
        self._restore_regions(kept.relays)
        self._state.restore(kept.contents)
        self._state.policy = self._wanted_policy(kept.contents.policy)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            control_key=self._machine_key,
            control_port=self._port.number,
            relays=tuple(relay.kept() for relay in self._relays.values()),
            auth_key=self.auth_key,
            contents=self._state.contents(self._host.world.wall()),
        )

    def _kept(self, error: Error | None) -> None:
        """The keeper has tried to save: control answers those who waited for it, or breaks its promises to them."""
        if self._control is not None:
            if error is not None and isinstance(self._control.machine, ControlServer):
                self._control.machine.break_promises()
            self._control.mark()

    def _choose_auth_key(self) -> None:
        """Take the auth key of last time if it still lets nodes of `user` in, else make one."""
        try:
            key = self._state.redeem(self.auth_key, self._host.world.wall())
        except Refusal:
            key = None
        if key is None or self._state.users[key.user].login_name != self.user:
            self.auth_key = self._state.create_auth_key(self.user, reusable=True).text

    # --- its servers ----------------------------------------------------------------------------------------

    def _start_control(self) -> None:
        world = self._host.world if self._own_world is None else self._own_world
        now = world.clock()
        self._control = self._port.listen(
            world,
            (self.address,),
            lambda port: ControlServer(
                self._state,
                self._machine_key,
                entropy=world.entropy,
                base_url=f"http://{join_host_port(self.address, port)}",
                wall_offset=world.wall() - now,
                now=now,
                modify_first_map=self._modify_first_map,
                faults=self._faults,
            ),
            limits=self._link_limits,
        )
        self._host.add(self._control)

    def _control_has_work(self) -> None:
        if self._control is not None:
            self._control.mark()

    # --- what a test or a demo does with it -----------------------------------------------------------------

    @property
    def control_url(self) -> str:
        return f"http://{join_host_port(self.address, self._port.number)}"

    def restart_control(self) -> None:
        """Cut every connection to control and listen again, with the same state."""

        def restart() -> None:
            self._stop(self._control)
            self._start_control()

        self._do(restart)

    # --- threads --------------------------------------------------------------------------------------------

    def _do(self, function: Callable[[], T]) -> T:
        """Run the function in the loop that owns the servers. On return, what it has changed is saved."""
        if not self._running:
            raise NotUp("this Tailnet does not run: use `with Tailnet() as tailnet`")

        def act() -> T:
            generation = self._state.generation
            try:
                return function()
            finally:
                if self._control is not None and self._state.generation != generation:
                    self._control.mark()

        if not self._host.own_thread or self._host.is_here():
            before = self._state.revision
            value = act()  # the servers are in the caller's loop or thread
            if self._keeper is not None and self._state.revision != before:
                self._keeper.keep_now()
            self._host.wake()
            return value
        operation: Operation[T] = self._host.operation(
            lambda made: self._run_kept(act, made.resolve, made.fail), self._tenant
        )
        return operation.result()

    def _run_kept(
        self, function: Callable[[], T], done: Callable[[T], object], failed: Callable[[BaseException], object]
    ) -> None:
        """Run the function in the host's thread. `done` is called once what it has changed is saved."""
        before = self._state.revision
        try:
            value = function()
        except BaseException as error:
            failed(error)
            return
        if self._keeper is None or self._state.revision == before:
            done(value)
        else:
            self._keeper.when_kept(lambda error: done(value) if error is None else failed(error))

    async def _await(self, operation: Operation[T]) -> T:
        operation.begin()
        if not self._host.own_thread:
            from tsnet.edge.run.caller_loop import start_driver

            start_driver(self._host)
        return await wait(operation)

    def __repr__(self) -> str:
        return f"<Tailnet {self.base_domain} at {self.control_url}>"


class _Tenant:
    """A tailnet as its host knows it: what keeps the loop running."""

    def __init__(self, tailnet: Tailnet) -> None:
        self._tailnet = tailnet

    def lost(self, error: Error) -> None:
        self._tailnet._lost()


def _directory(state: str | os.PathLike[str]) -> DirectoryStore:
    if not isinstance(state, (str, os.PathLike)) or not os.fspath(state):
        raise ConfigError(Wording(api("state="), f" is the directory to keep the tailnet in, or None, not {state!r}"))
    return directory_at(state)
