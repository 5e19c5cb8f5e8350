"""A program with few descriptors that serves on a tailnet: what `test_descriptors` crowds.

python -m tests.crowded listen 64 CONTROL_URL AUTH_KEY TARGET

It prints where it serves as soon as it does, and ends at SIGTERM.
"""

from __future__ import annotations

import errno
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import tsnet
from tsnet.edge.io.store import MemoryStore

NAME = "crowded"
PORT = 80
ANSWER = b"hello"


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": ANSWER})


def echo(listening: socket.socket) -> None:
    """Send back what comes, on any number of connections; wait where there is no descriptor."""
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            try:
                if key.fileobj is listening:
                    selector.register(listening.accept()[0], selectors.EVENT_READ)
                    continue
                sock: Any = key.fileobj
                data = sock.recv(1000)
                if data:
                    sock.sendall(data)
                    continue
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EINVAL:  # the node is closed
                    return
                if error.errno == errno.EMFILE:
                    time.sleep(0.05)
                    continue
            selector.unregister(sock)
            sock.close()


def serve(node: tsnet.Server, kind: str, target: str) -> str:
    """Begin to serve; where, if it is not the tailnet port."""
    match kind:
        case "listen":
            threading.Thread(target=echo, args=(node.listen(PORT),), daemon=True).start()
        case "wsgi":
            node.serve_wsgi(app, PORT, block=False)
        case "asgi":
            node.serve_asgi(asgi, PORT, block=False)
        case "forward_remote":
            node.forward_remote(PORT, target)
        case "forward_local":
            host, _, port = target.partition(":")
            return node.forward_local(host, int(port)).address
    return ""


def main() -> None:
    kind, limit, url, key, target = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if kind == "command":
        from tsnet.cli import main as command

        os.environ |= {"TS_CONTROL_URL": url, "TS_AUTHKEY": key}
        sys.exit(command(["serve", target, "--ephemeral", "--hostname", NAME]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tsnet.Server(NAME, control_url=url, auth_key=key, state=MemoryStore(), ephemeral=True) as node:
        where = serve(node, kind, target)
        node.reachable()
        print(where or "ready", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
