"""Our own node as a process in a namespace, driven as a Go peer is (`tests.interop.harness.gopeer`).

    with OurPeer(scene, control, "ours", auth_key="any", namespace=side.host) as peer:
        peer.up()
        stream = peer.open("gopeer:7")
        peer.path_to("gopeer")            # "11.2.0.2:41641"; empty while a relay carries its datagrams

This file is both: what the test holds, and the program (`python -m tests.lab.ourpeer`). The program writes what the
node decides to stderr, which is the scene's log.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.interop.harness.control import Control
from tests.interop.harness.lines import Lines, PeerError
from tests.interop.harness.process import ProcessError
from tests.interop.harness.scene import Scene
from tests.interop.harness.streams import StreamsProgram

ROOT = Path(__file__).parent.parent.parent


class OurPeer(StreamsProgram):
    """Started by entering it. Its operations are those of the Go package `streams` that a test needs."""

    def __init__(
        self,
        scene: Scene,
        control: Control,
        hostname: str,
        *,
        auth_key: str,
        namespace: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.scene, self.hostname, self.namespace = scene, hostname, namespace
        self._command: list[str | Path] = [sys.executable, "-m", "tests.lab.ourpeer"]
        self._command += ["--hostname", hostname, "--control", control.url, "--authkey", auth_key]
        self._environment = {**control.environment, "PYTHONPATH": str(ROOT), **(environment or {})}

    def __enter__(self) -> Self:
        name = f"ours-{self.hostname}"
        process = self.scene.run(
            name, self._command, environment=self._environment, namespace=self.namespace, speak=True
        )
        self._lines = Lines(process)
        return self

    def up(self) -> None:
        """Joined, and reachable by peers."""
        self.call("up")

    def close(self) -> None:
        """The orderly end of the node, and then of its program, which does not outlive its stdin."""
        if self._lines:
            with contextlib.suppress(PeerError, ProcessError, TimeoutError):
                self._lines.start("quit").result(10)
            self._lines.close()

    def path_to(self, name: str) -> str:
        """The UDP address that alone the peer of that name is sent to, empty while a relay is sent to as well."""
        routes = list(self.call("routes", peer=name))
        return str(routes[0]) if len(routes) == 1 and "relay" not in routes[0] else ""

    def peer_relay_to(self, name: str) -> str:
        """The session of a peer relay that alone the peer of that name is sent to: "11.9.9.1:7777:vni:3", or empty."""
        routes = list(self.call("routes", peer=name))
        return routes[0].removeprefix("peer relay ") if len(routes) == 1 and routes[0].startswith("peer relay") else ""


# --- the program ------------------------------------------------------------------------------------------------


class Program:
    """One node, and the operations on it; each runs in a thread of its own."""

    def __init__(self, hostname: str, control_url: str, auth_key: str) -> None:
        from tsnet import Server
        from tsnet.edge.io.store import MemoryStore

        self.server = Server(
            hostname, control_url=control_url, auth_key=auth_key, state=MemoryStore(), ephemeral=True, allow_http=True
        )
        self._streams: dict[int, socket.socket] = {}
        self._numbers = itertools.count(1)
        self._told: list[str] = []

    def operations(self) -> dict[str, Callable[..., Any]]:
        return {
            "up": self.up,
            "open": self.open,
            "write": self.write,
            "read": self.read,
            "close": self.close,
            "listen": self.listen,
            "routes": self.routes,
            "home": self.home,
            "told": self.told,
            "quit": self.quit,
        }

    def up(self, timeout: float = 30, **_: object) -> None:
        threading.Thread(target=self._follow, daemon=True).start()
        self.server.up(timeout=timeout)
        self.server.reachable(timeout=timeout)

    def _follow(self) -> None:
        from tsnet.events import HomeChanged, Problem

        for event in self.server.events():
            if isinstance(event, HomeChanged):
                self._told.append(f"home {event.region}")
            elif isinstance(event, Problem):
                self._told.append(f"problem: {event.error}")

    def home(self, **_: object) -> int:
        return self.server._handle.node.home.region

    def told(self, **_: object) -> list[str]:
        """What events have told of homes and of problems, in order."""
        return list(self._told)

    def open(self, address: str, timeout: float = 30, **_: object) -> dict[str, int]:
        host, _sep, port = address.rpartition(":")
        stream = self.server.dial(host, int(port), timeout=timeout)
        number = next(self._numbers)
        self._streams[number] = stream
        return {"stream": number}

    def write(self, stream: int, data: str, **_: object) -> None:
        self._streams[stream].sendall(base64.b64decode(data))

    def read(self, stream: int, size: int, timeout: float = 10, **_: object) -> dict[str, str]:
        sock, found = self._streams[stream], b""
        sock.settimeout(timeout)
        while len(found) < size and (more := sock.recv(size - len(found))):
            found += more
        return {"data": base64.b64encode(found).decode()}

    def close(self, stream: int, **_: object) -> None:
        self._streams.pop(stream).close()

    def listen(self, address: str, mode: str, **_: object) -> None:
        assert mode == "echo", mode
        listening = self.server.listen(int(address.rpartition(":")[2]))

        def accept() -> None:
            while True:
                stream, _ = listening.accept()
                threading.Thread(target=echo, args=(stream,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def routes(self, peer: str, **_: object) -> list[str]:
        """All destinations of a peer's datagrams, as text."""
        from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, join_host_port

        def shown(to: Destination) -> str:
            if isinstance(to, DerpAddress):
                return f"relay {to.region}"
            place = join_host_port(to.host, to.port)
            return f"peer relay {place}:vni:{to.vni}" if isinstance(to, PeerRelayAddress) else place

        node = self.server._handle.node
        known = node.netmap.peers.values() if node.netmap else ()
        keys = [found.key for found in known if found.name.split(".")[0] == peer]
        return [shown(destination) for key in keys for destination in node.engine.paths.routes(key)]

    def quit(self, **_: object) -> None:
        self.server.close()


def echo(stream: socket.socket) -> None:
    with stream, contextlib.suppress(OSError):
        while data := stream.recv(1 << 16):
            stream.sendall(data)


def serve(operations: dict[str, Callable[..., Any]]) -> None:
    """JSON lines, as the Go package `lines` has them."""
    lock, out = threading.Lock(), sys.stdout.buffer

    def answer(request: dict[str, Any]) -> None:
        number, op = request.pop("id"), request.pop("op")
        reply: dict[str, Any] = {"id": number}
        try:
            reply["result"] = operations[op](**request)
        except Exception as error:
            logging.getLogger("ourpeer").warning("%s failed", op, exc_info=True)
            reply["error"] = f"{type(error).__name__}: {error}"
        with lock:
            out.write(json.dumps(reply).encode() + b"\n")
            out.flush()
        if op == "quit":
            os._exit(0)

    for line in sys.stdin.buffer:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="our node, driven by JSON lines")
    for option in ("--hostname", "--control", "--authkey"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s.%(msecs)03d %(name)-15s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tsnet").setLevel(logging.DEBUG)
    program = Program(options.hostname, options.control, options.authkey)
    serve(program.operations())
    os._exit(0)


if __name__ == "__main__":
    main()
