"""WSGI apps on a listening socket of the tailnet. They run in threads, and know the caller.

    ListeningSocket.accept ─> waitress, else wsgiref with a thread for each connection
                           ─> IdentityMiddleware ─> app

`REMOTE_ADDR` and `REMOTE_PORT` are the caller's on the tailnet. `environ["tsnet.peer"]` and `current_peer()` are its
`Peer` (None if no node has that address). Werkzeug's debugger runs code for whoever reaches it, so only the owner of
this node gets through to it.

Source: PEP 3333.
Not here: the two engines (`wsgi_waitress`, `wsgi_wsgiref`), ASGI (`asgi`).
"""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Protocol
from urllib.parse import parse_qs

from tsnet.adapters.identity import Allow, admission, check_app, peer_of_request, refusal, same_user, strip_environ
from tsnet.adapters.web_limits import WebLimits
from tsnet.edge.io.threads import start_thread
from tsnet.edge.pipes.operations import Operation
from tsnet.errors import NotUp
from tsnet.netmap.whois import Peer
from tsnet.protocols import Whois

GRACE = 2.0
"""Seconds that requests under way get when the server closes."""

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
Owner = Callable[[], Peer | None]


class WsgiEngine(Protocol):
    """A WSGI server around a listening socket."""

    def run(self) -> None:
        """Serve until `stop`."""
        ...

    def stop(self, grace: float) -> None:
        """From any thread, before or after `run` has begun: accept no more, let requests under way finish within the
        grace (seconds), and end `run`. Does not wait for that.
        """
        ...


class WsgiServer:
    """One app on one listening socket. `run` serves until `close`, which any thread may call."""

    def __init__(
        self,
        app: App,
        listening: socket.socket,
        whois: Whois,
        *,
        allow: Allow = None,
        owner: Owner = lambda: None,
        limits: WebLimits | None = None,
    ) -> None:
        self.port: int = listening.getsockname()[1]
        self.ended: Operation[None] = Operation[None]()
        known = IdentityMiddleware(app, whois, allow=allow, owner=owner)
        self._engine = choose_engine(known, listening, limits or WebLimits(), callers(whois))
        self._not_begun = threading.Lock()  # whoever takes it runs the engine, or lets it go

    def run(self) -> None:
        """Serve in this thread until `close`, or until the node is closed. Raises what else ends it."""
        if self._not_begun.acquire(blocking=False):
            self._run()

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as error:
            self.ended.fail(error)
            raise
        else:
            self.ended.resolve(None)

    def start(self) -> None:
        """Serve in a thread of its own. Raises NotUp without one."""
        try:
            start_thread(threading.Thread(target=self._alone, name=f"tsnet-wsgi-{self.port}", daemon=True), "a service")
        except NotUp:
            self.begin_close()
            raise

    def _alone(self) -> None:
        """Whoever waits for `ended` hears of a failure."""
        with suppress(Exception):
            self.run()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end. Returns whether it has come. Raises what ended it, if that was an error."""
        has_ended = self.ended.wait(timeout)
        if has_ended:
            self.ended.outcome()
        return has_ended

    def close(self, grace: float = GRACE) -> None:
        """Accept no more, and let requests under way finish within the grace. May be called twice."""
        self.begin_close(grace)
        self.ended.wait(grace + 1)

    def begin_close(self, grace: float = GRACE) -> None:
        """As `close`, and returns at once. One that does not run yet never will, and its port is free again."""
        self._engine.stop(grace)
        if self._not_begun.acquire(blocking=False):
            self._run()  # there is nothing to serve: it ends

    def __enter__(self) -> WsgiServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def choose_engine(
    app: App, listening: socket.socket, limits: WebLimits, caller: Callable[[str], Hashable]
) -> WsgiEngine:
    """waitress's engine if it is installed, else the standard library's."""
    if importlib.util.find_spec("waitress") is not None:
        from tsnet.adapters.wsgi_waitress import WaitressEngine

        return WaitressEngine(app, listening, limits=limits, caller=caller)
    from tsnet.adapters.wsgi_wsgiref import WsgirefEngine

    return WsgirefEngine(app, listening, limits=limits, caller=caller)


def callers(whois: Whois) -> Callable[[str], Hashable]:
    """Who has an address: a node has two, and one share of the threads."""

    def caller(address: str) -> Hashable:
        peer = whois.whois(address)
        return address if peer is None else peer.addresses

    return caller


class IdentityMiddleware:
    """Tells the app who calls, and refuses callers that `allow` does not admit. owner: gives the owner of this node."""

    def __init__(self, app: App, whois: Whois, *, allow: Allow = None, owner: Owner = lambda: None) -> None:
        self._app, self._whois, self._owner = app, whois, owner
        check_app(app)
        self._admits = admission(allow)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        peer = self._whois.whois(environ.get("REMOTE_ADDR", ""))
        if not self._admits(peer):
            return _refuse(start_response, refusal(peer))
        if wants_debugger(environ) and not same_user(peer, self._owner()):
            return _refuse(start_response, "403 Forbidden: the debugger answers the owner of this node alone\n")
        known = strip_environ(environ)
        known["tsnet.peer"] = peer
        context = copy_context()
        context.run(peer_of_request.set, peer)
        body = context.run(self._app, known, start_response)
        # a list is finished, and the server must recognise its own file wrapper; any other body still runs app code
        if isinstance(body, (list, tuple, *_file_wrapper(environ))):
            return body
        return _Body(body, context)


class _Body:
    """A response body that is still being computed. It is computed in the context of its request."""

    def __init__(self, body: Iterable[bytes], context: Context) -> None:
        self._body, self._context = body, context
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        return self._context.run(self._step)

    def _step(self) -> bytes:
        if self._iterator is None:
            self._iterator = iter(self._body)
        return next(self._iterator)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)


def wants_debugger(environ: Environ) -> bool:
    """Whether the request is for werkzeug's debugger: its commands, or its console if it is loaded in this process."""
    if "__debugger__" in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True):
        return True
    return environ.get("PATH_INFO", "").rstrip("/") == "/console" and "werkzeug.debug" in sys.modules


def _file_wrapper(environ: Environ) -> tuple[type[Any], ...]:
    wrapper = environ.get("wsgi.file_wrapper")
    return (wrapper,) if isinstance(wrapper, type) else ()


def _refuse(start_response: StartResponse, text: str) -> list[bytes]:
    body = text.encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("403 Forbidden", headers)
    return [body]
