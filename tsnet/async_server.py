"""AsyncServer: a tailnet node for asyncio and trio.

    async with tsnet.AsyncServer("shop", auth_key=…) as node:
        stream = await node.dial("db", 5432)
        listener = await node.listen(80)

`AsyncServer` waits for the operations of an `edge.run.handle.Handle`, and wraps pipes into streams. Methods may be
called from any task, in any thread that runs a loop. `dial` and `listen` start the node if need be.

Source: Go tsnet/tsnet.go Server.
Not here: the options and the immediate answers (`base_server`), what a node does (`engine.node`), how it runs (`edge`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from tsnet.adapters.web_limits import (
    HEADER_TIMEOUT,
    KEEP_ALIVE_TIMEOUT,
    MAX_CONNECTIONS,
    THREADS,
    WebLimits,
    web_limits,
)
from tsnet.base_server import (
    CLOSE_TIMEOUT,
    DIAL_TIMEOUT,
    EXPLAIN_TIMEOUT,
    ID_TOKEN_TIMEOUT,
    LOGIN_TIMEOUT,
    LOGOUT_TIMEOUT,
    LONGEST_CLOSE,
    SET_TIMEOUT,
    UP_TIMEOUT,
    BaseServer,
)
from tsnet.config import HostLike, check_kind, check_limits, check_look, check_port, host_text, parse_where, seconds
from tsnet.edge.pipes.operations import scheduler, wait
from tsnet.edge.run.dialing import PingResult
from tsnet.edge.run.verbs import BACKLOG
from tsnet.errors import NotUp, RemoteError

if TYPE_CHECKING:
    import httpx

    from tsnet.adapters.asgi import App as AsgiApp
    from tsnet.adapters.asgi import AsgiServer
    from tsnet.adapters.background import Service
    from tsnet.adapters.forward import Forward
    from tsnet.adapters.identity import Allow
    from tsnet.adapters.local import Target
    from tsnet.adapters.service_handles import AsyncServing
    from tsnet.adapters.wsgi import App as WsgiApp
    from tsnet.engine.explanation import Explanation
    from tsnet.events import AsyncEvents
    from tsnet.netreport import NetcheckReport
    from tsnet.prefs import PrefChanges, Prefs
    from tsnet.streams import Listener, PacketConn, Stream


class AsyncServer(BaseServer):
    """A tailnet node. `async with` joins and leaves; every method that waits takes a `timeout` in seconds."""

    async def up(self, *, timeout: float | None = UP_TIMEOUT) -> None:
        """Join the tailnet. Returns once names, addresses and peers are known.

        Raises AuthKeyRejected, NeedsLogin, ControlUnreachable, ControlCertificateError, NotAControlServer, NodeRemoved,
        StateError, StateLocked, ConfigError, UpTimeout; and CredentialRejected, IdTokenRejected, NoIdToken of a node
        that joins by a client secret or a client ID.
        """
        await self._wait(self._handle.up, timeout)

    def start(self) -> None:
        """Begin to join, and wait for nothing: `state` of `status()`, `events()` and a later `up` tell how it goes.

        To be called in the loop. An error is logged. Raises NotUp for a node that is closed.
        """
        self._call_soon = scheduler()
        self._handle.start()
        self._drive()

    async def login(
        self, *, auth_key: str | None = None, force: bool = False, timeout: float | None = LOGIN_TIMEOUT
    ) -> None:
        """Log in again while the process runs, as the same user or another one. Returns once the node is served.

        auth_key: to log in with; without it, the one that control accepted last, or that of the constructor, or else a
        person at the login URL.
        force: also a node that is logged in gets a new node key. Without `force` and `auth_key` this is `up` for it.
        The present key stays in use until control has accepted the new one, so streams go on, unless the node becomes
        another user's: it has other addresses then, and its streams end. A call that is cancelled or late leaves the
        login under way.

        Raises AuthKeyRejected, after which a node whose key is good goes on with that, and what `up` raises.
        """
        await self._wait(self._handle.login, *self._login_options(auth_key, force), timeout)

    async def logout(self, *, timeout: float | None = LOGOUT_TIMEOUT) -> None:
        """Have control forget this node's key: every node, not only an ephemeral one. `state` is "logged-out" then.

        Streams are reset. The state that is kept holds a new identity, which nobody knows: the next start needs a
        login, and so does this process (`login`; until then `up` raises NeedsLogin). A node that is not up is logged
        out, too, without joining first. Raises ControlTimeout or ControlUnreachable if control does not confirm it in
        time; it is asked again for as long as the node is open, or until `login`, which ends a call that still waits.
        """
        await self._wait(self._handle.logout, timeout)

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

    async def set(self, *, timeout: float | None = SET_TIMEOUT, **changes: Unpack[PrefChanges]) -> Prefs:
        """Change preferences while the node runs: set(hostname="shop-2", shields_up=True). Returns those in force.

        They are in force at once, and saved for the next start, where an option or a variable of the same name beats
        them. On a running node this waits until control has taken them; one that is not up begins with them, and saves
        them then. `name` follows once control has granted the new hostname. Shields that go up close no stream: those
        that are open, from either side, go on, and so do answers to what this node sends.

        Raises ConfigError and TypeError, after which nothing has changed; NotUp for a node that is closed; StateError
        if it cannot be saved, and SetTimeout if control does not answer in time. After these two, and if the call is
        cancelled while it waits, the change stays in force, and what is missing is tried again.
        """
        prefs: Prefs = await self._wait(self._handle.setting.set, self._checked(changes), timeout)
        return prefs

    async def dial(self, host: HostLike, port: int, *, timeout: float | None = DIAL_TIMEOUT) -> Stream:
        """Connect to a port of another node, by name or address.

        Raises NotOnTailnet, DialRefused, DeniedByPolicy, DialTimeout, HostUnreachable, and what `up` raises.
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

    async def dial_packet(self, host: HostLike, port: int, *, timeout: float | None = DIAL_TIMEOUT) -> PacketConn:
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

    async def ping(self, host: HostLike, *, kind: str = "icmp", timeout: float | None = 5.0) -> PingResult:
        """Send one echo through the tunnel. "icmp" asks the peer's stack, "tsmp" its data path. "disco" is outside the
        tunnel: it asks by every path at once, and the result's `path` is the one that answered first.

        Raises NotOnTailnet, DialTimeout, and what `up` raises.
        """
        check_kind(kind)
        result: PingResult = await self._wait(self._handle.ping, host, kind, timeout)
        return result

    async def netcheck(self, *, timeout: float | None = 10.0) -> NetcheckReport:
        """Look at the network around this node: UDP, NAT, captive portal, the latency of every relay region.

        It takes a second or two, five at most; with less time, the report is what is known by then. Starts the node if
        need be, since control names the regions. Raises what `up` raises.
        """
        from tsnet.netreport import public_report

        report: NetcheckReport = await self._wait(self._handle.netcheck, timeout, public_report)
        return report

    async def issue_id_token(self, audience: str, *, timeout: float | None = ID_TOKEN_TIMEOUT) -> str:
        """A JWT, signed by control, by which this node proves to `audience` (a URL, as a rule) who it is.

        It lives for minutes: ask for each use. It is a secret: whoever has it is this node, to that audience. Raises
        IdTokenRefused (a Headscale has none), ControlTimeout, ControlUnreachable, TooManyRequests, what `up` raises,
        and ConfigError for an audience that is empty or no text.
        """
        token: str = await self._wait(self._handle.issue_id_token, audience, timeout)
        return token

    async def explain(self, target: HostLike, *, timeout: float | None = EXPLAIN_TIMEOUT) -> Explanation:
        """What a dial of "host:port" would meet, step by step, with one verdict and its code: docs/explain.md.

        A "host" alone is asked for by its tunnel. It takes ten seconds at the most once the node runs; with less time,
        the verdict is what is known by then. A node that another party keeps from running is explained, too. Raises
        ConfigError for a target that is none, AddressNotAvailable for an address and port if this node has no address
        of that family, and what `up` raises of this machine (StateError, NotUp, …).
        """
        text, begun = host_text(target), self._handle.world.clock()
        try:
            explanation: Explanation = await self._wait(self._handle.explain, text, timeout)
        except RemoteError as error:
            return self._explained(text, error, begun)
        return explanation

    async def debug(
        self, what: str, *, check: tuple[str, str] | None = None, timeout: float | None = UP_TIMEOUT
    ) -> dict[str, Any]:
        """Look into the node: "netmap", "filter", "derp", "paths" or "timers", as plain values without secrets.

        What is in them is told in docs/debugging.md. check: for "filter", whether ("laptop", ":80") would be let in:
        a name or address, and a port of this node. A node that has begun is asked at once, even if it is stuck on its
        way up; another one is started, and waited for. Raises ConfigError, NotOnTailnet, and what `up` raises.
        """
        check_look(what, check)
        shown: Callable[[], dict[str, Any]] = await self._wait(self._handle.look, what, check, timeout)
        return shown()

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
        from tsnet.adapters.service_handles import WsgiService

        limits = web_limits(max_connections, header_timeout, keep_alive_timeout, threads)
        listener = await self.listen(port, max_connections=max_connections)
        server = self._wsgi_server(app, listener.to_socket(), allow, limits)
        return await self._serve("serve_wsgi", WsgiService(server), server.port, self._where(server.port), block)

    async def forward_local(
        self, host: HostLike, port: int, *, local: Target = 0, max_connections: int | None = None
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
        forward = await forward_local(self, host_text(host), port, local=local, max_connections=max_connections)
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
        from tsnet.adapters.service_handles import AsyncServing

        serving = AsyncServing(service, port, address, services=self._servings, name=name, awaited=block)
        await (serving.run() if block else serving.start())
        return serving

    # --- the machinery --------------------------------------------------------------------------------------

    async def _wait(self, begin: Callable[..., Any], *arguments: Any) -> Any:
        """Begin an operation in this loop and await it."""
        self._call_soon = scheduler()
        operation = begin(*arguments)
        try:
            operation.begin()
            self._drive()
            return await wait(operation)
        except BaseException:
            operation.cancel()
            raise

    def _drive(self) -> None:
        """Run the node in this loop, if it has no thread of its own."""
        host = self._handle.host
        if not host.own_thread and host.users:
            from tsnet.edge.run.caller_loop import start_driver

            start_driver(host)

    def _stream(self, pipe: Any) -> Stream:
        from tsnet.streams import Stream

        return Stream(pipe, self._stream_socket, self._handle.path_to)

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
