"""AsyncServer: a tailnet node for asyncio and trio.

    async with tsnet.AsyncServer("shop", auth_key=…) as node:
        stream = await node.dial("db", 5432)
        listener = await node.listen(80)

`AsyncServer` waits for the operations of an `edge.run.handle.Handle`, and wraps pipes into streams. `BaseServer` has
the options and the immediate answers, which `Server`, the blocking twin, shares. Methods may be called from any task,
in any thread that runs a loop. `dial` and `listen` start the node if need be.

Source: Go tsnet/tsnet.go Server.
Not here: what a node does (`engine.node`), how it runs (`edge`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from tsnet.adapters.served import Services
from tsnet.adapters.web_limits import (
    HEADER_TIMEOUT,
    KEEP_ALIVE_TIMEOUT,
    MAX_CONNECTIONS,
    THREADS,
    WebLimits,
    web_limits,
)
from tsnet.base.addresses import IPAddress, parse_address
from tsnet.base.wording import Wording, api
from tsnet.config import (
    Config,
    check_host,
    check_kind,
    check_limits,
    check_objects,
    check_port,
    check_types,
    configure,
    parse_where,
    seconds,
    split_address,
)
from tsnet.edge.io.log import log
from tsnet.edge.io.place import State, store_for
from tsnet.edge.io.system import hostinfo
from tsnet.edge.io.world import World
from tsnet.edge.pipes.operations import scheduler, wait
from tsnet.edge.run.dialing import PingResult
from tsnet.edge.run.handle import Handle
from tsnet.edge.run.hold import Hold, weakly
from tsnet.edge.run.host import Host, default_host, host_for, private_host
from tsnet.edge.run.opening import Options
from tsnet.edge.run.verbs import BACKLOG
from tsnet.errors import ConfigError, NotUp
from tsnet.netmap.model import Node
from tsnet.netmap.whois import Peer
from tsnet.status import Status, peers_of

if TYPE_CHECKING:
    import socket
    import ssl

    import httpx

    from tsnet.adapters.asgi import App as AsgiApp
    from tsnet.adapters.asgi import AsgiServer
    from tsnet.adapters.background import Service
    from tsnet.adapters.forward import Forward
    from tsnet.adapters.identity import Allow
    from tsnet.adapters.local import Target
    from tsnet.adapters.serving import AsyncServing
    from tsnet.adapters.wsgi import App as WsgiApp
    from tsnet.adapters.wsgi import WsgiServer
    from tsnet.edge.pipes.listening import ListenPipe
    from tsnet.edge.pipes.packets import PacketPipe
    from tsnet.edge.pipes.pipes import Pipe
    from tsnet.events import AsyncEvents
    from tsnet.streams import Listener, PacketConn, Stream

OnAuthUrl = Callable[[str], object]
UP_TIMEOUT = 60.0
CLOSE_TIMEOUT = 2.0
DIAL_TIMEOUT = 30.0
LONGEST_CLOSE = 86_400.0
"""Seconds that a close without a time limit may take: a wait for a thread must have a limit."""


class BaseServer:
    """The options and the immediate answers of both servers. Options are fixed when the object is made."""

    _may_share_a_loop = True
    """Whether the node may run in the caller's loop, or in another world. A caller that blocks cannot run that loop."""

    _call_soon: Callable[[Callable[[], object]], None] | None = None
    """Runs a function in the loop that used this server last."""

    def __init__(
        self,
        hostname: str | None = None,
        *,
        auth_key: str | None = None,
        control_url: str | None = None,
        state: State = None,
        ephemeral: bool = False,
        tags: Iterable[str] = (),
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        on_auth_url: OnAuthUrl | None = None,
        allow_http: bool = False,
        control_key: str | None = None,
        own_thread: bool = True,
        world: World | None = None,
    ) -> None:
        """Checks every option. Makes no file, no socket and no thread.

        Raises ConfigError, and StateError if there is no `state` and no writable place for one.

        hostname: the name to ask control for, made a DNS label; default TS_HOSTNAME, then the script's name.
        auth_key: how to join without a person; default TS_AUTHKEY, then TS_AUTH_KEY. Not needed again once joined.
        control_url: a Headscale, or an embedded tailnet; default TS_CONTROL_URL, then Tailscale.
        state: a directory or a `tsnet.Store` for the node's identity; default: the user's state directory / hostname.
        ephemeral: the node disappears from the tailnet when it closes; without `state` it is kept in memory alone.
        tags: ["tag:ci", …], which the key or the policy must allow.
        port: the local UDP port; 0 takes any.
        ssl_context: judges control's and the relays' certificates instead of the system's roots (a private CA).
        proxy: "http://host:port" for control and relays, "" for none; default HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
        on_auth_url: is called with the URL where a person logs the node in. Without it, the URL is printed if stderr is
            a terminal; if not, `up` raises NeedsLogin.
        allow_http: accept a control URL that is plain http to a public host.
        control_key: control's public key ("mkey:…"), to trust no other.
        own_thread: False runs the node in the caller's loop, which must then never block.
        world: where sockets, clock and randomness come from; for tests.
        """
        check_objects(ssl_context, on_auth_url, world)
        host = self._choose_host(own_thread, world)
        self._config: Config = configure(
            hostname,
            environ=os.environ,
            script=sys.argv[0] if sys.argv else "",
            auth_key=auth_key,
            control_url=control_url,
            ephemeral=ephemeral,
            tags=tags,
            port=port,
            allow_http=allow_http,
            control_key=control_key,
            proxy=proxy,
        )
        tell_new_name(self._config)
        self._on_auth_url = on_auth_url
        store = store_for(state, self._config.hostname, environ=os.environ, ephemeral=ephemeral)
        options = Options(ssl_context=ssl_context, on_login_url=weakly(self._on_login_url), hostinfo=hostinfo())
        self._handle = Handle(self._config, host, store, options, world)
        self._hold = Hold(self._handle, type(self).__name__)
        self._servings = Services(self._handle)  # Serving of a Server, AsyncServing of an AsyncServer

    def _choose_host(self, own_thread: bool, world: World | None) -> Host:
        check_types(own_thread=own_thread)
        if world is None and own_thread:
            return default_host()
        if not self._may_share_a_loop:
            options = (api("own_thread=False"), " and ", api("world="))
            raise ConfigError(Wording("a blocking Server needs its own thread: ", *options, " are for AsyncServer"))
        return private_host() if world is None else host_for(world)

    def _on_login_url(self, url: str) -> bool:
        """Show the URL to a person; in the node's thread. Returns whether somebody was shown it."""
        callback = self._on_auth_url
        if callback is not None:
            self._run_callback(lambda: callback(url))
            return True
        if sys.stderr is not None and sys.stderr.isatty():
            print(f"To log {self._config.hostname} in, visit:\n\n    {url}\n", file=sys.stderr, flush=True)
            return True
        return False

    def _run_callback(self, callback: Callable[[], object]) -> None:
        raise NotUp("a BaseServer does not run")

    # --- descriptors ----------------------------------------------------------------------------------------

    def _stream_socket(self, pipe: Pipe) -> socket.socket:
        from tsnet.sockets.attach import stream_socket

        return stream_socket(self._handle, pipe)

    def _listening_socket(self, pipe: ListenPipe) -> socket.socket:
        from tsnet.sockets.attach import listening_socket

        return listening_socket(self._handle, pipe)

    def _packet_socket(self, pipe: PacketPipe) -> socket.socket:
        from tsnet.sockets.attach import packet_socket

        return packet_socket(self._handle, pipe)

    # --- what is served -------------------------------------------------------------------------------------

    def _wsgi_server(self, app: WsgiApp, listening: socket.socket, allow: Allow, limits: WebLimits) -> WsgiServer:
        """On error the port is free again."""
        from tsnet.adapters.wsgi import WsgiServer

        try:
            return WsgiServer(app, listening, self, allow=allow, owner=self._owner, limits=limits)
        except BaseException:
            listening.close()
            raise

    def _where(self, port: int) -> str:
        address = next(iter(self.addresses), None)
        if address is None:  # the node was closed a moment ago
            return f":{port}"
        return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"

    def _owner(self) -> Peer | None:
        """The owner of this node; None before `up`."""
        return next((self.whois(str(address)) for address in self.addresses), None)

    # --- immediate answers, from the netmap -----------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name that control granted, one label; "" before `up`. It may differ from the hostname asked for."""
        node = self._self_node()
        return "" if node is None else node.name.partition(".")[0]

    @property
    def fqdn(self) -> str:
        """The full MagicDNS name; "" before `up`."""
        node = self._self_node()
        return "" if node is None else node.name

    @property
    def url(self) -> str:
        """The URL of a web app on port 80 of this node; "" before `up`."""
        return f"http://{self.name}/" if self.name else ""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The node's tailnet addresses, v4 first; empty before `up`."""
        node = self._self_node()
        return () if node is None else node.ips

    def _self_node(self) -> Node | None:
        netmap = self._handle.netmap
        return None if netmap is None else netmap.self_node

    def whois(self, address: str) -> Peer | None:
        """The owner of that tailnet address ("100.64.0.7", "100.64.0.7:1234", "[fd7a:…]:80"), or None."""
        check_host(address)
        whois = self._handle.whois
        ip = parse_address(address) or parse_address(split_address(address)[0])
        return None if whois is None or ip is None else whois.peer(ip)

    def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """The addresses of a tailnet name, short or full, v4 first; empty if no node has it."""
        check_host(name)
        names = self._handle.names
        if names is None:
            return ()
        return tuple(sorted(names.resolve(name), key=lambda address: address.version))

    def status(self) -> Status:
        """A snapshot of this node and its peers, from what control has sent. Nobody is asked."""
        handle = self._handle
        netmap, whois = handle.netmap, handle.whois
        status = Status(handle.state, self._config.hostname, self._config.control_url, login_url=handle.login_url)
        if netmap is None or whois is None:
            return status
        node = netmap.self_node
        peer = whois.peer(node.key)
        return attrs.evolve(
            status,
            name=self.name,
            fqdn=node.name,
            addresses=node.ips,
            user_login=peer.user_login if peer else "",
            tags=node.tags,
            home_region=handle.home_region,
            key_expiry=node.key_expiry,
            health=(*netmap.health, *handle.health),
            peers=peers_of(netmap, whois),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._config.hostname} {self._handle.state}>"


class AsyncServer(BaseServer):
    """A tailnet node. `async with` joins and leaves; every method that waits takes a `timeout` in seconds."""

    async def up(self, *, timeout: float | None = UP_TIMEOUT) -> None:
        """Join the tailnet. Returns once names, addresses and peers are known.

        Raises AuthKeyRejected, NeedsLogin, ControlUnreachable, ControlCertificateError, NotAControlServer, NodeRemoved,
        StateError, StateLocked, ConfigError, UpTimeout.
        """
        await self._wait(self._handle.up, timeout)

    async def reachable(self, *, timeout: float | None = UP_TIMEOUT) -> None:
        """Wait until peers can reach this node, too: its relay is up, and control knows of it.

        Raises what `up` raises.
        """
        await self._wait(self._handle.reachable, timeout)

    async def close(self, *, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Leave the tailnet: streams end in order, an ephemeral node logs out, all within the timeout.

        May be called twice. Raises nothing but ConfigError, for a timeout that is none.
        """
        import anyio

        limit, spent = min(seconds(timeout), LONGEST_CLOSE), 0.0
        with anyio.CancelScope(shield=True):
            begun = anyio.current_time()
            for serving, left in self._servings.taken(limit / 2):
                await serving.aclose(left)
                spent = anyio.current_time() - begun  # of real time, which a simulated node has not
            with contextlib.suppress(NotUp):  # the node's thread died meanwhile: nothing is left to close
                await self._wait(self._handle.close, max(0.1, limit - spent))

    async def dial(self, host: str, port: int, *, timeout: float | None = DIAL_TIMEOUT) -> Stream:
        """Connect to a port of another node, by name or address.

        Raises NotOnTailnet, DialRefused, DialTimeout, HostUnreachable, and what `up` raises.
        """
        check_port(port)
        return self._stream(await self._wait(self._handle.dial, host, port, timeout))

    async def listen(
        self,
        where: int | str,
        *,
        backlog: int = BACKLOG,
        max_connections: int | None = None,
        timeout: float | None = UP_TIMEOUT,
    ) -> Listener:
        """Listen on a TCP port of all own addresses (80, ":80"), or of one ("100.64.0.5:80"). 0 takes any free port.

        backlog: connections that may wait for `accept`; further callers are answered as soon as there is room.
        max_connections: those that may be open at once, accepted or not; further ones are reset. No peer has more than
        two thirds of either. None: 16,384 for all ports of the node.
        Raises AddressInUse, AddressNotAvailable, ConfigError, and what `up` raises.
        """
        from tsnet.streams import Listener

        port, address = parse_where(where)
        check_limits(backlog=backlog, max_connections=max_connections)
        listen = functools.partial(self._handle.listen, backlog=backlog, max_connections=max_connections)
        pipe = await self._wait(listen, port, address, timeout)
        return Listener(pipe, self._stream, self._listening_socket)

    async def dial_packet(self, host: str, port: int, *, timeout: float | None = DIAL_TIMEOUT) -> PacketConn:
        """A UDP socket that speaks with one port of another node. Raises NotOnTailnet, and what `up` raises."""
        from tsnet.streams import PacketConn

        check_port(port)
        pipe = await self._wait(self._handle.dial_packet, host, port, timeout)
        return PacketConn(pipe, self._packet_socket)

    async def listen_packet(self, where: int | str, *, timeout: float | None = UP_TIMEOUT) -> PacketConn:
        """A UDP socket on a port of all own addresses, or of one. Raises what `listen` raises."""
        from tsnet.streams import PacketConn

        port, address = parse_where(where)
        pipe = await self._wait(self._handle.listen_packet, port, address, timeout)
        return PacketConn(pipe, self._packet_socket)

    async def ping(self, host: str, *, kind: str = "icmp", timeout: float | None = 5.0) -> PingResult:
        """Send one echo through the tunnel. "icmp" asks the peer's stack, "tsmp" its data path.

        Raises NotOnTailnet, DialTimeout, and what `up` raises.
        """
        check_kind(kind)
        result: PingResult = await self._wait(self._handle.ping, host, kind, timeout)
        return result

    def events(self) -> AsyncEvents:
        """The events of this node (`tsnet.events`) from this call on, until it has failed or is closed."""
        from tsnet.events import AsyncEvents

        return AsyncEvents(self._handle.subscribe())

    # --- adapters -------------------------------------------------------------------------------------------

    def httpx_client(self, *, fallback: str | None = None, **options: Any) -> httpx.AsyncClient:
        """An httpx.AsyncClient that reaches tailnet names. Other names raise NotOnTailnet, unless fallback="host".

        options: httpx's, but `transport` and `proxy`. Raises ConfigError for what has no meaning on a tailnet.
        """
        from tsnet.adapters.httpx import httpx_client

        return httpx_client(self, fallback=fallback, **options)

    async def serve_asgi(
        self,
        app: AsgiApp,
        port: int | str = 80,
        *,
        allow: Allow = None,
        max_connections: int = MAX_CONNECTIONS,
        header_timeout: float | None = HEADER_TIMEOUT,
        keep_alive_timeout: float | None = KEEP_ALIVE_TIMEOUT,
        block: bool = True,
    ) -> AsyncServing:
        """Serve an ASGI app (FastAPI, Starlette, Django, …) on a port of this node, in the caller's loop.

        port: as of `listen`. allow: who gets in, ["ann@example.com", "tag:ci"] or a function of `Peer`; None: all.
        max_connections: those that may be open at once; further ones are reset, and no peer has more than two thirds.
        header_timeout: seconds for the whole header of a request. keep_alive_timeout: seconds that a connection may be
        idle between two requests. None is no limit, for both.
        block: return when the node is closed or this call is cancelled; False returns a running handle at once.
        The caller is `current_peer()` and `scope["extensions"]["tsnet"]`, never a header: Tailscale-* are removed.
        """
        limits = web_limits(max_connections, header_timeout, keep_alive_timeout)
        server = await self._asgi_server(app, port, allow, limits)
        return await self._serve("serve_asgi", server, server.port, self._where(server.port), block)

    async def _asgi_server(self, app: AsgiApp, port: int | str, allow: Allow, limits: WebLimits) -> AsgiServer:
        """On error the port is free again."""
        from tsnet.adapters.asgi import AsgiServer

        listener = await self.listen(port, max_connections=limits.max_connections)
        try:
            return AsgiServer(app, listener, self, allow=allow, limits=limits)
        except BaseException:
            await listener.aclose()
            raise

    async def serve_wsgi(
        self,
        app: WsgiApp,
        port: int | str = 80,
        *,
        allow: Allow = None,
        threads: int = THREADS,
        max_connections: int = MAX_CONNECTIONS,
        header_timeout: float | None = HEADER_TIMEOUT,
        keep_alive_timeout: float | None = KEEP_ALIVE_TIMEOUT,
        block: bool = True,
    ) -> AsyncServing:
        """Serve a WSGI app (Flask, Django, …), in threads. Options as of `serve_asgi`.

        threads: how many requests are handled at once, two thirds at most of one peer; the others wait their turn.
        Threads are made when they are needed. The caller is `current_peer()` and `environ["tsnet.peer"]`.
        """
        from tsnet.adapters.serving import WsgiService

        limits = web_limits(max_connections, header_timeout, keep_alive_timeout, threads)
        listener = await self.listen(port, max_connections=max_connections)
        server = self._wsgi_server(app, listener.to_socket(), allow, limits)
        return await self._serve("serve_wsgi", WsgiService(server), server.port, self._where(server.port), block)

    async def forward_local(
        self, host: str, port: int, *, local: Target = 0, max_connections: int | None = None
    ) -> AsyncServing:
        """Listen on this machine, and forward each connection to host:port of the tailnet.

        local: a port of 127.0.0.1 (0 takes a free one), "host:port", or the path of a Unix socket.
        max_connections: how many may be open at once; further ones are reset.
        Returns once it listens; the handle's `port` and `address` tell where. Raises NotOnTailnet as `dial` does, for a
        host that no node has now, and OSError if it cannot listen there.
        """
        from tsnet.adapters.forward import forward_local
        from tsnet.adapters.local import check_target

        check_port(port)
        check_target(local)
        check_limits(max_connections=max_connections)
        await self._wait(self._handle.find, host, UP_TIMEOUT)
        forward = await forward_local(self, host, port, local=local, max_connections=max_connections)
        return await self._serve("forward_local", forward, forward.port, forward.address, block=False)

    async def forward_remote(
        self, port: int | str, target: Target, *, max_connections: int | None = None
    ) -> AsyncServing:
        """Listen on a port of this node, and forward each connection to a target of this machine, byte by byte.

        target: a port of 127.0.0.1, "host:port", or the path of a Unix socket. Returns once it listens. Headers of HTTP
        that passes here are not removed: the program behind must not trust those that name the caller.
        max_connections: as of `listen`. 128 may wait for the target, two thirds of them of one peer.
        """
        forward = await self._forward_remote(port, target, max_connections)
        return await self._serve("forward_remote", forward, forward.port, forward.address, block=False)

    async def _forward_remote(self, port: int | str, target: Target, max_connections: int | None) -> Forward:
        from tsnet.adapters.forward import forward_accepted
        from tsnet.adapters.local import check_target

        check_target(target)
        return forward_accepted(await self.listen(port, max_connections=max_connections), target)

    async def _serve(self, name: str, service: Service, port: int | None, address: str, block: bool) -> AsyncServing:
        from tsnet.adapters.serving import AsyncServing

        serving = AsyncServing(service, port, address, services=self._servings, name=name, awaited=block)
        await (serving.run() if block else serving.start())
        return serving

    # --- the machinery --------------------------------------------------------------------------------------

    async def _wait(self, begin: Callable[..., Any], *arguments: Any) -> Any:
        """Begin an operation in this loop and await it."""
        self._call_soon = scheduler()
        host = self._handle.host
        operation = begin(*arguments)
        try:
            operation.begin()
            if not host.own_thread and host.users:
                from tsnet.edge.run.caller_loop import start_driver

                start_driver(host)
            return await wait(operation)
        except BaseException:
            operation.cancel()
            raise

    def _stream(self, pipe: Any) -> Stream:
        from tsnet.streams import Stream

        return Stream(pipe, self._stream_socket)

    def _run_callback(self, callback: Callable[[], object]) -> None:
        if self._call_soon is not None:
            self._call_soon(callback)

    @classmethod
    def _of(cls, server: BaseServer) -> AsyncServer:
        """The same node for tasks. A blocking server serves ASGI and forwards with it, in a loop of their own."""
        face = cls.__new__(cls)
        face.__dict__.update(server.__dict__)
        return face

    async def __aenter__(self) -> AsyncServer:
        try:
            await self.up()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def tell_new_name(config: Config) -> None:
    """Somebody will look for the node by the name that was chosen."""
    if config.asked_hostname:
        label = config.hostname
        log.warning("the hostname %r is no DNS label: this node asks control for %r", config.asked_hostname, label)
