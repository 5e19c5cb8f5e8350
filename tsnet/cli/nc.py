"""`tsnet nc HOST PORT`: stdin and stdout as one TCP connection, so that `ssh -o ProxyCommand='tsnet nc %h %p'` works.

stdin  ─(thread)─> socket, half-closed at the end of stdin
stdout <─(main)── socket, until the peer closes
"""

from __future__ import annotations

import os
import socket
import threading
from argparse import Namespace

from tsnet.cli.joining import joined

CHUNK = 64 * 1024


def run(options: Namespace) -> int:
    with joined(options, passing=True) as node, node.dial(options.host, options.port) as sock:
        # a daemon: it may wait for a terminal when the peer has long gone
        threading.Thread(target=_send, args=(sock,), name="tsnet-nc", daemon=True).start()
        _receive(sock)
    return 0


def _send(sock: socket.socket) -> None:
    try:
        while data := os.read(0, CHUNK):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # the peer closed or reset: the other direction says which
        return


def _receive(sock: socket.socket) -> None:
    while data := sock.recv(CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
