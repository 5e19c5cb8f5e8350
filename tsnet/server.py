"""Server: the blocking twin of AsyncServer, with the same names.

    with tsnet.Server("shop", auth_key=…) as node:
        sock = node.dial("db", 5432)          a real socket.socket, with tailnet addresses
        node.serve_wsgi(app)

Each method waits for the same operation as its asynchronous twin. `dial` and `listen` return real sockets, so that
blocking libraries work unchanged.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Unpack

from tsnet.adapters.web_limits import (
    HEADER_TIMEOUT,
    KEEP_ALIVE_TIMEOUT,
    MAX_CONNECTIONS,
    THREADS,
    web_limits,
)
from tsnet.async_server import AsyncServer
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
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.dialing import PingResult
from tsnet.edge.run.verbs import BACKLOG
from tsnet.errors import RemoteError

if TYPE_CHECKING:
    import httpx

    from tsnet.adapters.asgi import App as AsgiApp
    from tsnet.adapters.forward import Forward
    from tsnet.adapters.identity import Allow
    from tsnet.adapters.local import Target
    from tsnet.adapters.service_handles import Runner, Serving
    from tsnet.adapters.wsgi import App as WsgiApp
    from tsnet.engine.explanation import Explanation
    from tsnet.events import Events
    from tsnet.netreport import NetcheckReport
    from tsnet.prefs import PrefChanges, Prefs


class Server(BaseServer):
    """A tailnet node for blocking code. `with` joins and leaves. Methods may be called from any thread."""

    def up(self, *, timeout: float | None = UP_TIMEOUT) -> None:
        """Join the tailnet. As AsyncServer.up."""
        self._handle.up(timeout).result()

    def start(self) -> None:
        """Begin to join, and wait for nothing. As AsyncServer.start."""
        self._handle.start()

    def login(self, *, auth_key: str | None = None, force: bool = False, timeout: float | None = LOGIN_TIMEOUT) -> None:
        """Log in again while the process runs, as the same user or another one. As AsyncServer.login."""
        self._handle.login(*self._login_options(auth_key, force), timeout).result()

    def logout(self, *, timeout: float | None = LOGOUT_TIMEOUT) -> None:
        """Have control forget this node's key. As AsyncServer.logout."""
        self._handle.logout(timeout).result()

    def reachable(self, *, timeout: float | None = UP_TIMEOUT) -> None:
        """Wait until peers can reach this node, too. As AsyncServer.reachable."""
        self._handle.reachable(timeout).result()

    def close(self, *, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Leave the tailnet. As AsyncServer.close.

        An interrupted call (Ctrl-C) goes on in the background, and another call waits for it. In the node's own thread,
        where a `__del__` may run, it begins to close and does not wait.
        """
        limit, begun = min(seconds(timeout), LONGEST_CLOSE), time.monotonic()
        may_wait = not self._handle.host.is_here()
        try:
            for serving, left in self._servings.taken(limit / 2 if may_wait else 0.0):
                serving.close(left)
        finally:
            closing = self._begin_close(max(0.1, begun + limit - time.monotonic()))
        closing.wait()

    def _begin_close(self, timeout: float) -> Operation[None]:
        """An interrupt at this very moment does not keep it from beginning."""
        try:
            return self._handle.close(timeout).begin()
        except BaseException:
            self._handle.close(timeout).begin()
            raise

    def set(self, *, timeout: float | None = SET_TIMEOUT, **changes: Unpack[PrefChanges]) -> Prefs:
        """Change preferences while the node runs. As AsyncServer.set."""
        return self._handle.setting.set(self._checked(changes), timeout).result()

    def dial(self, host: HostLike, port: int, *, timeout: float | None = DIAL_TIMEOUT) -> socket.socket:
        """A connected socket. Raises as AsyncServer.dial."""
        check_port(port)
        made: Operation[socket.socket] = self._handle.dial(host, port, timeout, self._stream_socket)
        return made.result()

    def listen(
        self,
        where: int | str,
        *,
        backlog: int = BACKLOG,
        max_connections: int | None = None,
        timeout: float | None = UP_TIMEOUT,
    ) -> socket.socket:
        """A listening socket. `accept` returns sockets with tailnet addresses. Options and errors as of
        AsyncServer.listen."""
        port, address = parse_where(where)
        check_limits(backlog=backlog, max_connections=max_connections)
        made: Operation[socket.socket] = self._handle.listen(
            port, address, timeout, self._listening_socket, backlog=backlog, max_connections=max_connections
        )
        return made.result()

    def dial_packet(self, host: HostLike, port: int, *, timeout: float | None = DIAL_TIMEOUT) -> socket.socket:
        """A connected datagram socket. Raises as AsyncServer.dial_packet."""
        check_port(port)
        made: Operation[socket.socket] = self._handle.dial_packet(host, port, timeout, self._packet_socket)
        return made.result()

    def listen_packet(self, where: int | str, *, timeout: float | None = UP_TIMEOUT) -> socket.socket:
        """A datagram socket. `recvfrom` and `sendto` use tailnet addresses. Raises as AsyncServer.listen_packet."""
        port, address = parse_where(where)
        made: Operation[socket.socket] = self._handle.listen_packet(port, address, timeout, self._packet_socket)
        return made.result()

    def ping(self, host: HostLike, *, kind: str = "icmp", timeout: float | None = 5.0) -> PingResult:
        """Send one echo through the tunnel. As AsyncServer.ping."""
        check_kind(kind)
        return self._handle.ping(host, kind, timeout).result()

    def netcheck(self, *, timeout: float | None = 10.0) -> NetcheckReport:
        """Look at the network around this node. As AsyncServer.netcheck."""
        from tsnet.netreport import public_report

        return self._handle.netcheck(timeout, public_report).result()

    def issue_id_token(self, audience: str, *, timeout: float | None = ID_TOKEN_TIMEOUT) -> str:
        """A JWT by which control tells `audience` who this node is. As AsyncServer.issue_id_token."""
        return self._handle.issue_id_token(audience, timeout).result()

    def explain(self, target: HostLike, *, timeout: float | None = EXPLAIN_TIMEOUT) -> Explanation:
        """What a dial of "host:port" would meet. As AsyncServer.explain."""
        text, begun = host_text(target), self._handle.world.clock()
        try:
            return self._handle.explain(text, timeout).result()
        except RemoteError as error:
            return self._explained(text, error, begun)

    def debug(
        self, what: str, *, check: tuple[str, str] | None = None, timeout: float | None = UP_TIMEOUT
    ) -> dict[str, Any]:
        """Look into the node. As AsyncServer.debug."""
        check_look(what, check)
        return self._handle.look(what, check, timeout).result()()

    def events(self) -> Events:
        """The events of this node (`tsnet.events`) from this call on, until it has failed or is closed."""
        from tsnet.events import Events

        return Events(self._handle.subscribe())

    # --- adapters -------------------------------------------------------------------------------------------

    def httpx_client(self, *, fallback: str | None = None, **options: Any) -> httpx.Client:
        """An httpx.Client that reaches tailnet names. As AsyncServer.httpx_client."""
        from tsnet.adapters.httpx import sync_httpx_client

        return sync_httpx_client(self, fallback=fallback, **options)

    def serve_wsgi(
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
    ) -> Serving:
        """Serve a WSGI app (Flask, Django, …) on a port of this node, in threads. Blocks until `close`, or Ctrl-C.

        port: as of `listen`. allow: who gets in, ["ann@example.com", "tag:ci"] or a function of `Peer`; None: all.
        threads, max_connections, header_timeout, keep_alive_timeout: as of AsyncServer.serve_wsgi.
        block: False returns a running handle with the actual port.
        The caller is `current_peer()` and `environ["tsnet.peer"]`, never a header: Tailscale-* are removed.
        """
        limits = web_limits(max_connections, header_timeout, keep_alive_timeout, threads)
        server = self._wsgi_server(app, self.listen(port, max_connections=max_connections), allow, limits)
        return self._serve("serve_wsgi", server, lambda: (server.port, self._where(server.port)), block)

    def serve_asgi(
        self,
        app: AsgiApp,
        port: int | str = 80,
        *,
        allow: Allow = None,
        max_connections: int = MAX_CONNECTIONS,
        header_timeout: float | None = HEADER_TIMEOUT,
        keep_alive_timeout: float | None = KEEP_ALIVE_TIMEOUT,
        block: bool = True,
    ) -> Serving:
        """Serve an ASGI app (FastAPI, Starlette, Django, …), in a thread with a loop of its own. As `serve_wsgi`."""
        from tsnet.adapters.background import Background

        limits = web_limits(max_connections, header_timeout, keep_alive_timeout)
        node = AsyncServer._of(self)
        runner = Background(lambda: node._asgi_server(app, port, allow, limits))
        return self._serve("serve_asgi", runner, lambda: (runner.service.port, self._where(runner.service.port)), block)

    def forward_local(
        self, host: HostLike, port: int, *, local: Target = 0, max_connections: int | None = None
    ) -> Serving:
        """Listen on this machine, and forward connections to host:port of the tailnet. As AsyncServer.forward_local."""
        from tsnet.adapters.forward import forward_local
        from tsnet.adapters.local import check_target

        check_port(port)
        check_target(local)
        check_limits(max_connections=max_connections)
        self._handle.find(host, UP_TIMEOUT).result()
        node = AsyncServer._of(self)
        return self._forward(
            "forward_local",
            lambda: forward_local(node, host_text(host), port, local=local, max_connections=max_connections),
        )

    def forward_remote(self, port: int | str, target: Target, *, max_connections: int | None = None) -> Serving:
        """Listen on a port of this node, and forward connections to this machine. As AsyncServer.forward_remote."""
        node = AsyncServer._of(self)
        return self._forward("forward_remote", lambda: node._forward_remote(port, target, max_connections))

    def _forward(self, name: str, make: Callable[[], Awaitable[Forward]]) -> Serving:
        from tsnet.adapters.background import Background

        runner = Background(make)
        return self._serve(name, runner, lambda: (runner.service.port, runner.service.address), block=False)

    def _serve(self, name: str, runner: Runner, where: Callable[[], tuple[int | None, str]], block: bool) -> Serving:
        """Start it and keep it. If that fails or is interrupted, nothing of it runs."""
        from tsnet.adapters.service_handles import Serving

        try:
            runner.start()
            serving = Serving(runner, *where(), services=self._servings, name=name, awaited=block)
        except BaseException:
            runner.close(0.0)
            raise
        if block:
            with serving:
                serving.wait()
        return serving

    # --- the machinery --------------------------------------------------------------------------------------

    _may_share_a_loop = False
    _needed_soon = ("tsnet.sockets", "tsnet.sockets.attach")

    def _run_callback(self, callback: Callable[[], object]) -> None:
        threading.Thread(target=callback, name="tsnet on_auth_url", daemon=True).start()

    def __enter__(self) -> Server:
        try:
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
