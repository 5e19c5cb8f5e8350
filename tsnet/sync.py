"""Server: the blocking twin of AsyncServer, with the same names.

    with tsnet.Server("shop", auth_key=…) as node:
        sock = node.dial("db", 5432)          a real socket.socket, with tailnet addresses
        node.serve_wsgi(app)

Not a second machine: every method waits for the same operation as its asynchronous twin. `dial` and `listen` give real
sockets, so that blocking libraries work unchanged.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tsnet.edge.dialing import PingResult
from tsnet.engine.facts import Fact
from tsnet.errors import ConfigError
from tsnet.server import (
    CLOSE_TIMEOUT,
    DIAL_TIMEOUT,
    UP_TIMEOUT,
    BaseServer,
    check_kind,
    check_port,
    parse_where,
)

if TYPE_CHECKING:
    import httpx


class Server(BaseServer):
    """A tailnet node for blocking code. `with` joins and leaves. Methods may be called from any thread."""

    def up(self, *, timeout: float = UP_TIMEOUT) -> None:
        """Join the tailnet. See AsyncServer.up."""
        self._handle.up(timeout).result()

    def reachable(self, *, timeout: float = UP_TIMEOUT) -> None:
        """Wait until peers can reach this node, too."""
        self._handle.reachable(timeout).result()

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Leave. Idempotent, never fails, bounded by the timeout."""
        self._handle.close(timeout).result()

    def dial(self, host: str, port: int, *, timeout: float = DIAL_TIMEOUT) -> socket.socket:
        """A connected socket. Raises as AsyncServer.dial."""
        check_port(port)
        return self._stream_socket(self._handle.dial(host, port, timeout).result())

    def listen(self, where: int | str, *, timeout: float = UP_TIMEOUT) -> socket.socket:
        """A listening socket: `accept` gives sockets with tailnet addresses. Raises as AsyncServer.listen."""
        port, address = parse_where(where)
        return self._listening_socket(self._handle.listen(port, address, timeout).result())

    def dial_packet(self, host: str, port: int, *, timeout: float = DIAL_TIMEOUT) -> socket.socket:
        """A connected datagram socket."""
        check_port(port)
        return self._packet_socket(self._handle.dial_packet(host, port, timeout).result())

    def listen_packet(self, where: int | str, *, timeout: float = UP_TIMEOUT) -> socket.socket:
        """A datagram socket: `recvfrom` and `sendto` speak tailnet addresses."""
        port, address = parse_where(where)
        return self._packet_socket(self._handle.listen_packet(port, address, timeout).result())

    def ping(self, host: str, *, kind: str = "icmp", timeout: float = 5.0) -> PingResult:
        """One echo through the tunnel. See AsyncServer.ping."""
        check_kind(kind)
        return self._handle.ping(host, kind, timeout).result()

    def events(self) -> Iterator[Fact]:
        """What happens to this node from now on, until it closes."""
        subscription = self._handle.subscribe()
        try:
            while True:
                event = subscription.take()
                if event is not None:
                    yield event
                elif subscription.ended:
                    return
                else:
                    news = threading.Event()
                    if subscription.when_ready(news.set):
                        news.wait()
        finally:
            subscription.close()

    # --- adapters -------------------------------------------------------------------------------------------

    def httpx_client(self, *, fallback: str | None = None, **options: Any) -> httpx.Client:
        """An httpx.Client that reaches tailnet names. See AsyncServer.httpx_client."""
        from tsnet.adapters.httpx import sync_httpx_client

        return sync_httpx_client(self, fallback=fallback, **options)

    # --- the machinery --------------------------------------------------------------------------------------

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self._handle.host.own_thread:
            raise ConfigError("a blocking Server needs its own thread: own_thread=False and world= are for AsyncServer")

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
