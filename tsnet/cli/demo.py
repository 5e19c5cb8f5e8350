"""`tsnet demo`: two nodes talk on a tailnet in this process. Each step is printed with its time.

    Tailnet ─ control, relay, STUN on loopback
      shop ─ of bob@…: a web app                  <─ GET http://shop/ ─  laptop ─ of ann@…

It needs no account, no root and no network. The control protocol, WireGuard, the relay over TLS and TCP are those of
any tailnet. With --keep it stays up, for nodes of other programs and languages.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tsnet.adapters.identity import current_peer
from tsnet.cli import console
from tsnet.cli.signals import Terminated
from tsnet.cli.tailnet import invitation
from tsnet.server import Server
from tsnet.testing.tailnet import Tailnet

BULK = 8 << 20


def run(options: Namespace) -> int:
    show = Show()
    show.title("A tailnet in this process: no account, no root, no network beyond loopback.")
    with ExitStack() as stack:
        with show.step("tailnet") as done:
            tailnet = stack.enter_context(Tailnet())
            done(f"{tailnet.base_domain}: control, a relay and STUN on {tailnet.address}")
        shop = _join(show, stack, tailnet, "shop", "bob@tailnet.test")
        laptop = _join(show, stack, tailnet, "laptop", "ann@tailnet.test")
        _visit(show, shop, laptop)
        _bulk(show, shop, laptop)
        show.total()
        if options.keep:
            _keep(tailnet, stack)
    return 0


class Show:
    """Prints a line for each step: its time, its name, its result."""

    def __init__(self) -> None:
        self._style = console.Style(sys.stdout)
        self._begun = time.perf_counter()

    def title(self, text: str) -> None:
        print(f"\n  {self._style(console.BOLD, text)}\n", flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step. Yields a function that takes the step's result."""
        results: list[str] = []
        begun = time.perf_counter()
        yield results.append
        self._line(time.perf_counter() - begun, name, *results)

    def _line(self, seconds: float, name: str, *results: str) -> None:
        took = self._style(console.GREEN, f"{seconds * 1000:7.1f} ms")
        print(f"{took}  {self._style(console.BOLD, name.ljust(18))}{'  '.join(results)}", flush=True)

    def total(self) -> None:
        print(flush=True)
        self._line(time.perf_counter() - self._begun, "all of it")


def _join(show: Show, stack: ExitStack, tailnet: Tailnet, name: str, user: str) -> Server:
    with show.step(f"{name} joins") as done:
        key = tailnet.create_auth_key(user)
        node = Server(name, control_url=tailnet.control_url, auth_key=key, ephemeral=True)
        stack.enter_context(node)
        done(f"{node.fqdn}  {node.addresses[0]}  for {user}")
    return node


def _visit(show: Show, shop: Server, laptop: Server) -> None:
    kind, app = web_app()
    with show.step(f"{kind} app") as done:
        serving = shop.serve_wsgi(app, block=False)
        done(f"serves on {shop.url}, port {serving.port} of the tailnet, no port of this machine")
    with show.step("httpx") as done, laptop.httpx_client() as client:
        response = client.get(shop.url)
        done(f"GET {shop.url} from laptop, by its name")
    print(f"{'':12}{'':18}{response.text!r}", flush=True)
    with show.step("ping") as done:
        result = laptop.ping("shop")
        done(f"shop ({result.address}) answers in {result.seconds * 1000:.1f} ms")
    with show.step("whois") as done:
        peer = shop.whois(laptop.addresses[0])
        done(f"{laptop.addresses[0]} is {peer.name} of {peer.user_login}" if peer else "nobody")


def web_app() -> tuple[str, Callable[..., Iterable[bytes]]]:
    """("Flask" or "WSGI", a WSGI app that greets its caller). Uses Flask if it is installed."""
    if importlib.util.find_spec("flask") is None:
        return "WSGI", _plain_app
    import flask

    app: Any = flask.Flask("shop")
    app.add_url_rule("/", view_func=greeting)
    return "Flask", app


def _plain_app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [greeting().encode()]


def greeting() -> str:
    """A greeting. The caller is known from the tailnet, without a password, header or cookie."""
    peer = current_peer()
    return f"Hello {peer.user_login}, you call from {peer.name}." if peer else "Hello stranger."


def _bulk(show: Show, shop: Server, laptop: Server) -> None:
    """Send BULK bytes through the relay and its TLS. Both nodes and the relay share this process."""
    with show.step(f"{BULK >> 20} MiB") as done:
        begun = time.perf_counter()
        with shop.listen(9) as listener, laptop.dial("shop", 9) as out:
            threading.Thread(target=_pour, args=(listener,), daemon=True).start()
            left = BULK
            while left and (data := out.recv(1 << 18)):
                left -= len(data)
        rate = (BULK - left) * 8 / (time.perf_counter() - begun)
        done(f"in one TCP stream through the relay: {rate / 1e6:.0f} Mbit/s")


def _pour(listener: Any) -> None:
    with listener.accept()[0] as sock:
        sock.sendall(os.urandom(BULK))


def _keep(tailnet: Tailnet, stack: ExitStack) -> None:
    """Stay up until Ctrl-C or SIGTERM. The key is in a file, so that no command line need show it."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tsnet-demo-"))
    path = os.path.join(folder, "auth-key")
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="utf-8") as file:
        file.write(f"{tailnet.auth_key}\n")
    print(f"\n{invitation(tailnet, path)}", flush=True)
    console.say("staying up, until Ctrl-C")
    try:
        threading.Event().wait()
    except Terminated:
        return
