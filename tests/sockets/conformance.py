"""The same calls on a kernel's socket and on ours: what each answers, and why where they differ.

    python -m tests.sockets.conformance        writes docs/sockets.md

A row is Python: what happens before, and the call itself. `sock` is the socket under test, `far` the other end, and
`arrive(data)` lets far send and waits until sock can be read. An answer is a value, or an exception by its errno.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

import tsnet
from tests.guests import guest_of
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

PAGE = Path(__file__).parent.parent.parent / "docs" / "sockets.md"
SECTIONS = {"connected": "TCP, connected", "listening": "TCP, listening", "datagrams": "UDP"}


@attrs.frozen
class Row:
    """reason: why ours answers differently; empty if it must not."""

    kind: str
    call: str
    before: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.before}; {self.call}" if self.before else f"{self.kind}: {self.call}"


def rows(kind: str, *calls: tuple[str, ...]) -> list[Row]:
    return [Row(kind, *call) for call in calls]


NO_TCP = "The kernel has no TCP here: options are remembered, and have no effect."
ALWAYS = "A reset is told each time, so that every thread and copy learns of it."
NAMES = "Only the node can resolve names: `node.resolve`."
BOUND = "A server that binds what it was given may go on."

ROWS = [
    *rows(
        "connected",
        ("sock.recv(3)", "arrive(b'hello')"),
        ("sock.recv(3, MSG_PEEK), sock.recv(9)", "arrive(b'hello')"),
        ("sock.recv(0)", "arrive(b'hello')"),
        ("sock.recv(-1)",),
        ("sock.recv(9, MSG_DONTWAIT)",),
        ("sock.recv(9)", "sock.settimeout(0.01)"),
        ("sock.recv(9)", "sock.setblocking(False)"),
        ("sock.recv(9, MSG_OOB)",),
        ("sock.recv(9, MSG_WAITALL)", "arrive(b'123456789')"),
        ("sock.recv_into(bytearray(3))", "arrive(b'hello')"),
        ("sock.recv_into(bytearray(3), 4)", "arrive(b'hello')"),
        ("sock.recvfrom(9)", "arrive(b'hello')"),
        ("sock.recvfrom_into(bytearray(9))", "arrive(b'hello')"),
        ("sock.recvmsg(3)[:3]", "arrive(b'hello')"),
        ("sock.recvmsg_into([bytearray(2), bytearray(2)])[:3]", "arrive(b'hello')"),
        ("sock.recv(9), sock.recv(9)", "far.shutdown(SHUT_WR); arrive(b'')"),
        ("sock.recv(9)", "far.close(); arrive(b'')"),
        ("sock.send(b'x') and far.recv(9)", "far.shutdown(SHUT_WR); arrive(b'')"),
        ("sock.recv(9)", "reset()"),
        ("[answer(sock.recv, 9) for _ in range(2)]", "reset()", ALWAYS),
        ("sock.getsockopt(SOL_SOCKET, SO_ERROR), sock.getsockopt(SOL_SOCKET, SO_ERROR)", "reset()"),
        ("sock.send(b'hello')",),
        ("sock.send(b'')",),
        ("sock.sendall(b'hello')",),
        ("sock.sendmsg([b'he', b'llo'])",),
        ("sock.sendto(b'hello', far.getsockname())",),
        ("sock.sendmsg([b'x'], [(SOL_SOCKET, SCM_RIGHTS, struct.pack('i', 0))])",),
        ("sock.send(b'x')", "sock.shutdown(SHUT_WR)"),
        ("sock.send(b'x', MSG_OOB)", "", "The tailnet's TCP has no urgent data."),
        ("sock.shutdown(SHUT_WR), far.recv(9)",),
        ("sock.shutdown(SHUT_RD), sock.recv(9)",),
        ("sock.shutdown(7)",),
        ("sock.connect(far.getsockname())",),
        ("sock.connect_ex(far.getsockname())",),
        ("sock.bind(('127.0.0.1', 0))",),
        ("sock.listen()",),
        ("sock.accept()",),
        ("sock.getsockname() == far.getpeername()",),
        ("sock.getpeername() == far.getsockname()",),
        ("sock.family, sock.type",),
        ("sock.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_STREAM",),
        ("sock.getsockopt(SOL_SOCKET, SO_DOMAIN) == AF_INET",),
        ("sock.getsockopt(SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP",),
        ("sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)",),
        ("sock.getsockopt(SOL_SOCKET, SO_ERROR)",),
        ("sock.setsockopt(SOL_SOCKET, SO_LINGER, 1)",),
        ("sock.getsockopt(SOL_SOCKET, SO_KEEPALIVE)", "sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)"),
        ("sock.getsockopt(IPPROTO_TCP, TCP_NODELAY)", "sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)"),
        ("sock.getsockopt(IPPROTO_IP, IP_TTL)",),
        (
            "len(sock.getsockopt(IPPROTO_TCP, TCP_INFO, 104))",
            "",
            NO_TCP + " `Stream.info()` tells what TCP_INFO would.",
        ),
        ("sock.setsockopt(IPPROTO_TCP, 12345, 1)", "", NO_TCP),
        ("sock.gettimeout(), sock.getblocking(), sock.get_inheritable()",),
        ("sock.dup().getpeername() == far.getsockname()",),
        ("len(os.fdopen(sock.detach(), 'rb', 0).read(5))", "arrive(b'hello')"),
        ("sock.recv(1)", "sock.close()"),
        ("sock.getpeername()", "sock.close()"),
        ("sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)", "sock.close()"),
        ("sock.connect_ex(far.getsockname())", "sock.close()"),
        ("sock.fileno()", "sock.close()"),
        ("copy.copy(sock)",),
        ("sock.makefile('rb').readline()", "arrive(b'line\\n')"),
        ("far.recv(9)", "d = sock.dup(); sock.send(b'x'); sock.close(); d.close(); far.recv(1)"),
        ("d.recv(9)", "d = sock.dup(); d.shutdown(SHUT_WR); sock.close(); far.recv(9); far.send(b'answer')"),
    ),
    *rows(
        "listening",
        ("sock.accept()[1] == far.getsockname()",),
        ("sock.accept()", "sock.accept(); sock.setblocking(False)"),
        ("sock.accept()", "sock.accept(); sock.settimeout(0.01)"),
        ("sock.accept()[0].gettimeout()", "sock.settimeout(5)"),
        ("sock.accept()[0].get_inheritable()",),
        ("bool(select.select([sock], [], [], 5)[0])",),
        ("sock.listen(5)",),
        ("sock.bind(('127.0.0.1', 0))", "", BOUND),
        ("sock.connect(far.getsockname())",),
        ("sock.connect_ex(far.getsockname())",),
        ("sock.recv(9)",),
        ("sock.recv_into(bytearray(9))",),
        ("sock.recvmsg(9)",),
        ("sock.send(b'x')",),
        ("sock.sendall(b'x')",),
        ("sock.getpeername()",),
        ("sock.getsockname() == far.getpeername()",),
        ("sock.family, sock.type",),
        ("sock.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_STREAM",),
        ("sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)",),
        ("sock.getsockopt(SOL_SOCKET, SO_ERROR)",),
        ("sock.getsockopt(IPPROTO_TCP, TCP_NODELAY)", "sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)"),
        ("sock.accept()", "sock.close()"),
        ("sock.dup().accept()[1] == far.getsockname()", "sock.close() if False else None"),
        ("d.accept()[1] == far.getsockname()", "d = sock.dup(); sock.close()"),
        ("far.recv(9)", "sock.close()"),
        ("copy.copy(sock)",),
    ),
    *rows(
        "datagrams",
        ("sock.recvfrom(9)[0]", "arrive(b'hello')"),
        ("sock.recvfrom(9)[1] == far.getsockname()", "arrive(b'hello')"),
        ("sock.recv(3), answer(sock.recv, 9, MSG_DONTWAIT)", "arrive(b'hello')"),
        ("sock.recv(3, MSG_PEEK), sock.recv(9)", "arrive(b'hello')"),
        ("len(sock.recv(3, MSG_TRUNC))", "arrive(b'hello')", "CPython appends zeros that nobody has sent."),
        ("sock.recv_into(bytearray(3), 0, MSG_TRUNC)", "arrive(b'hello')"),
        ("sock.recv(0)", "arrive(b'hello')"),
        ("sock.recv(9)", "arrive(b'')"),
        ("sock.recv(-1)",),
        ("sock.recv(9, MSG_DONTWAIT)",),
        ("sock.recv(9)", "sock.settimeout(0.01)"),
        ("sock.recv_into(bytearray(3), 4)", "arrive(b'hello')"),
        ("sock.recvfrom_into(bytearray(9))[0]", "arrive(b'hello')"),
        ("sock.recvmsg(9)[:3]", "arrive(b'hello')"),
        ("sock.recvmsg(3)[2] & MSG_TRUNC", "arrive(b'hello')"),
        ("sock.recvmsg_into([bytearray(2), bytearray(2)])[0]", "arrive(b'hello')"),
        ("b, sock.recvmsg_into([b])[0]", "b = bytearray(5); arrive(b'hello')"),
        ("sock.recvmsg_into([bytearray(2), bytearray(2)])[2] & MSG_TRUNC", "arrive(b'hello')"),
        (
            "sock.recv(9, MSG_PEEK), sock.recv(9)",
            "arrive(b'stranger', stranger); sock.connect(far.getsockname()); sock.recv(9) if is_kernel() else None; "
            "arrive(b'friend')",
        ),
        ("sock.send(b'x')",),
        ("sock.sendmsg([b'x'])",),
        ("sock.sendto(b'x')",),
        ("sock.sendto(b'x', far.getsockname()), far.recv(9)",),
        ("sock.sendto(b'x', 0, far.getsockname()), far.recv(9)",),
        ("sock.sendmsg([b'a', b'b'], [], 0, far.getsockname()), far.recv(9)",),
        ("sock.send(b'x'), far.recv(9)", "sock.connect(far.getsockname())"),
        ("sock.sendto(b'x', stranger.getsockname()), stranger.recv(9)", "sock.connect(far.getsockname())"),
        ("sock.sendto(bytes(65508), far.getsockname())",),
        ("sock.sendto(b'x', ('no.such.name.invalid', 9))", "", NAMES),
        ("sock.sendto(b'x', (far.getsockname()[0], 65536))",),
        ("sock.connect_ex(far.getsockname()), sock.getpeername() == far.getsockname()",),
        ("sock.getpeername()",),
        ("sock.bind(('127.0.0.1', 0))",),
        ("sock.listen()",),
        ("sock.accept()",),
        ("sock.shutdown(SHUT_RD)",),
        ("sock.shutdown(SHUT_WR), answer(sock.send, b'x')", "sock.connect(far.getsockname())"),
        ("sock.recv(9)", "sock.connect(far.getsockname()); sock.shutdown(SHUT_RD)"),
        ("sock.family, sock.type",),
        ("sock.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_DGRAM",),
        ("sock.getsockopt(SOL_SOCKET, SO_PROTOCOL) == IPPROTO_UDP",),
        ("sock.getsockopt(SOL_SOCKET, SO_ERROR)",),
        ("sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)",),
        ("sock.getsockopt(IPPROTO_IP, IP_TTL)", "sock.setsockopt(IPPROTO_IP, IP_TTL, 5)"),
        ("sock.getsockopt(IPPROTO_IP, IP_TTL)",),
        ("sock.recv(9)", "sock.close()"),
        ("sock.sendto(b'x', far.getsockname())", "sock.close()"),
        ("d.recv(9)", "d = sock.dup(); sock.close(); d.settimeout(5); far.sendto(b'hello', d.getsockname())"),
        ("d.getpeername() == far.getsockname()", "d = sock.dup(); sock.connect(far.getsockname())"),
        ("copy.copy(sock)",),
    ),
]


class Ends(ABC):
    """Where the sockets of one row come from: this machine's kernel, or two nodes of a tailnet."""

    def connected(self) -> tuple[socket.socket, ...]:
        with self.listener() as listening:
            sock = self.dial(listening.getsockname())
            return sock, listening.accept()[0]

    def listening(self) -> tuple[socket.socket, ...]:
        listening = self.listener()
        return listening, self.dial(listening.getsockname())

    def datagrams(self) -> tuple[socket.socket, ...]:
        return self.datagram(0), self.datagram(1), self.datagram(1)

    @abstractmethod
    def listener(self) -> socket.socket: ...

    @abstractmethod
    def dial(self, address: Any) -> socket.socket: ...

    @abstractmethod
    def datagram(self, node: int) -> socket.socket: ...


class Kernel(Ends):
    def listener(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    def dial(self, address: Any) -> socket.socket:
        sock = socket.create_connection(address)
        sock.settimeout(None)
        return sock

    def datagram(self, node: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        return sock


class Ours(Ends):
    def __init__(self, here: tsnet.Server, there: tsnet.Server) -> None:
        self.nodes = (here, there)

    def listener(self) -> socket.socket:
        return self.nodes[0].listen(0)

    def dial(self, address: Any) -> socket.socket:
        return self.nodes[1].dial(*address[:2])

    def datagram(self, node: int) -> socket.socket:
        return self.nodes[node].listen_packet(0)


def answer(call: Callable[..., Any], *args: Any) -> str:
    """A value, or an exception: by its errno if it has one."""
    try:
        return repr(call(*args))
    except (TimeoutError, socket.gaierror) as failure:
        return type(failure).__name__
    except OSError as failure:
        return errno.errorcode.get(failure.errno or 0, repr(failure))
    except Exception as failure:
        return type(failure).__name__


def ask(row: Row, ends: Ends) -> str:
    """What the sockets answer to the row's call."""
    sockets = getattr(ends, row.kind)()
    sock, far = sockets[:2]
    for each in (far, *sockets[2:]):
        each.settimeout(5)

    def arrive(data: bytes, sender: socket.socket = far) -> None:
        if row.kind == "datagrams":
            sender.sendto(data, sock.getsockname())
        elif data:
            sender.sendall(data)
        assert select.select([sock], [], [], 5)[0], "nothing came"

    def reset() -> None:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        assert select.select([sock], [], [], 5)[0], "no reset came"

    names = {name: getattr(socket, name) for name in dir(socket) if name.isupper()}
    names |= {name: sys.modules[name] for name in ("os", "select", "struct")}
    names |= {"copy": __import__("copy"), "sock": sock, "far": far, "stranger": sockets[-1], "answer": answer}
    names |= {"arrive": arrive, "reset": reset, "is_kernel": lambda: isinstance(ends, Kernel)}
    try:
        exec(row.before, names)
        return answer(eval, row.call, names)
    finally:
        for each in (*sockets, names.get("d")):
            if isinstance(each, socket.socket):
                each.close()


@contextlib.contextmanager
def ours() -> Iterator[Ours]:
    with Tailnet() as tailnet:
        options: dict[str, Any] = guest_of(tailnet)
        with (
            tsnet.Server("here", state=MemoryStore(), **options) as here,
            tsnet.Server("there", state=MemoryStore(), **options) as there,
        ):
            yield Ours(here, there)


HEAD = """# Sockets

What `dial`, `listen`, `dial_packet` and `listen_packet` of the blocking server return, and every `to_socket()`, are
`socket.socket` objects. A test makes these calls on them and on sockets of the Linux kernel over loopback. `sock` is
the socket, `far` the other end, `arrive(data)` lets far send and waits until it has come, `d` is a copy.

`python -m tests.sockets.conformance` writes this page.
"""


def page(answers: dict[Row, tuple[str, str]]) -> str:
    """docs/sockets.md: first what differs and why, then what is equal."""
    text = [HEAD, "## What differs", "", "| socket | call | the kernel | tsnet | why |", "|---|---|---|---|---|"]
    for row, (kernel, own) in answers.items():
        if row.reason:
            text.append(f"| {SECTIONS[row.kind]} | {code(row)} | `{kernel}` | `{own}` | {row.reason} |")
    for kind, title in SECTIONS.items():
        text += ["", f"## {title}: the same", "", "| call | answer |", "|---|---|"]
        text += [
            f"| {code(row)} | `{kernel}` |"
            for row, (kernel, _) in answers.items()
            if row.kind == kind and not row.reason
        ]
    return "\n".join(text) + "\n"


def code(row: Row) -> str:
    return f"`{row.before}`, then `{row.call}`" if row.before else f"`{row.call}`"


def compare(own: Ends) -> dict[Row, tuple[str, str]]:
    return {row: (ask(row, Kernel()), ask(row, own)) for row in ROWS}


if __name__ == "__main__":
    with ours() as own:
        answers = compare(own)
    for row, (kernel, mine) in answers.items():
        if (kernel == mine) == bool(row.reason):
            print(f"{row}: {kernel}, but ours {mine}")
    PAGE.write_text(page(answers), encoding="utf-8")
