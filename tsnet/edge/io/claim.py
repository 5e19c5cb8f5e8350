"""One node at a time runs with an identity on a machine, whichever store it was read from: a copied state is noticed.

    take     bind an abstract Unix socket under a name that follows from the identity ─► it is ours until `release`
             the name is taken ─► connect: who listens there? ─► this user or root: StateInUse, with the pid
                                                              ─► anybody else: no matter, the node goes on
    greet    who has connected to ask so is let go, so that there is room for the next one

The kernel frees the name with the process, however that ends; no file is left. Another user could listen under a name
that he has seen in /proc/net/unix, which must not keep a node from starting: hence the question who listens.

The name is a hash of the machine key and the tailnet lock key, and tells nothing of either. The machine key alone would
not do: the profiles of one Go client have it in common. Both stay when the node key changes.

Noticed is what the kernel shows: processes of the same network namespace, so no other container or machine. On other
systems than Linux, or where a sandbox allows no Unix socket, nothing is. Control still tells then (`DuplicateNode`).

Source: Linux unix(7): abstract addresses, SO_PEERCRED.
Not here: two nodes in one directory (`lock`), a state that has come from elsewhere (`whereabouts`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
import time

from tsnet.base.wording import Wording, api
from tsnet.edge.io.forked import OPENING, watch
from tsnet.engine.identity import Identity
from tsnet.errors import StateInUse

IS_SUPPORTED = sys.platform == "linux" and hasattr(socket, "AF_UNIX")
PREFIX, LABEL = b"\0tsnet-py/", b"one node at a time"
TRIES, PAUSE = 3, 0.01
"""How often a name is asked for at which nobody listens, and the seconds in between: its node just begins, or ends."""

BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class Claim:
    """The claim of one node. `take` may run in any thread, and may sleep for some milliseconds."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None

    def take(self, identity: Identity, place: str) -> None:
        """Raises StateInUse. place: what the identity was read from. Without Unix sockets it does nothing."""
        if not IS_SUPPORTED:
            return
        name = name_of(identity)
        for _ in range(TRIES):
            try:
                self._bind(name)
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    return  # no descriptor is left, or a sandbox forbids it: the node goes on without
            holder = holder_of(name)
            if holder is not None:
                pid, user = holder
                if user in (os.geteuid(), 0):
                    raise in_use(place, pid)
                return
            time.sleep(PAUSE)

    def _bind(self, name: bytes) -> None:
        with OPENING:
            watch(self)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                sock.bind(name)
                sock.listen(BACKLOG)
            except BaseException:
                sock.close()
                raise
            self.socket = sock

    def greet(self, _mask: int = 0) -> None:
        """Let those go who have asked whose the name is; at most as many as may wait, so that nobody keeps us here."""
        with contextlib.suppress(OSError):
            for _ in range(BACKLOG):
                if self.socket is None:
                    return
                self.socket.accept()[0].close()

    def release(self) -> None:
        """Twice is as good as once."""
        sock, self.socket = self.socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def orphan(self) -> None:
        self.release()


def name_of(identity: Identity) -> bytes:
    from tsnet.base.crypto import keyed_blake2s  # brings what a command that starts no node does not need

    return PREFIX + keyed_blake2s(identity.machine_key.reveal(), LABEL + identity.lock_key.reveal()).hex().encode()


def holder_of(name: bytes) -> tuple[int | None, int] | None:
    """The process and the user that listen there; no pid if the process is not one that we see. None: nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(name)
            found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:  # it has gone, it does not listen yet, or it lets nobody in
            return None
    pid, user, _group = _CREDENTIALS.unpack(found)
    return pid or None, user


def in_use(place: str, pid: int | None) -> StateInUse:
    who = "another process" if pid is None else "this process" if pid == os.getpid() else f"process {pid}"
    remedy = "Close that node first" if pid == os.getpid() else f"Stop {who}"
    return StateInUse(
        Wording(
            f"a node of {who} runs with the identity that {place} has: one of the two is a copy, and both would take "
            f"each other's traffic. {remedy}; or, for a node of its own, begin with an empty place at ",
            api("state="),
        ),
        pid,
    )
