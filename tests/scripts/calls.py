"""System calls by name: arguments of the script -> methods of `sockets`, results as the kernel gives them.

    Kernel.attempt(call, progress) -> result        raises SocketError (errno), Block (wait), ScriptError (no such call)

Descriptors are the script's own numbers: what `socket` or `accept` must return is what it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.scripts.options import ERRNO_NUMBERS, apply_all, get_option, set_option
from tests.scripts.script import Call, ScriptError, Struct
from tests.scripts.sockets import DEFAULT_PORT, Block, Socket, SocketError, TcpSocket, UdpSocket, queued
from tests.scripts.world import Gap, World

O_RDWR, O_NONBLOCK = 0x2, 0x800


class Kernel:
    """The table of descriptors."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.open: dict[int, Socket] = {}

    def attempt(self, call: Call, progress: dict[str, Any]) -> int:
        """One try. progress: the same dictionary for every try of one call."""
        function = CALLS.get(call.name)
        if function is None:
            raise ScriptError(f"no such system call: {call.name}")
        return function(self, call, progress)

    def socket(self, number: Any) -> Any:
        if number not in self.open:
            raise SocketError("EBADF")
        return self.open[number]

    def install(self, call: Call, socket: Socket) -> int:
        """Under the number that the script gives it, or the lowest free one."""
        number = call.result
        if number is None or number < 0 or number in self.open:
            number = next(free for free in range(3, 1000) if free not in self.open)
        self.open[number] = socket
        return number


def names(value: Any) -> frozenset[str]:
    return value if isinstance(value, frozenset) else frozenset()


def _socket(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    kind, protocol = names(call.arguments[1]), names(call.arguments[2])
    if ("SOCK_STREAM" in kind) == ("IPPROTO_UDP" in protocol):
        raise SocketError("EPROTONOSUPPORT")
    made: Socket = TcpSocket(kernel.world) if "SOCK_STREAM" in kind else UdpSocket(kernel.world)
    made.blocking = "SOCK_NONBLOCK" not in kind
    return kernel.install(call, made)


def _bind(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    address = call.arguments[1]
    port = address.fields.get("sin_port", DEFAULT_PORT) if isinstance(address, Struct) else DEFAULT_PORT
    kernel.socket(call.arguments[0]).port = port
    return 0


def _listen(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    kernel.socket(call.arguments[0]).listen(call.arguments[1])
    return 0


def _accept(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    made = kernel.socket(call.arguments[0]).accept()
    made.blocking = "SOCK_NONBLOCK" not in names(call.arguments[-1])
    apply_all(made)
    return kernel.install(call, made)


def _connect(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    socket = kernel.socket(call.arguments[0])
    is_new = getattr(socket, "connection", None) is None
    try:
        socket.connect()
    finally:
        if is_new:
            apply_all(socket)
    return 0


def _read(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    flags = names(call.arguments[3]) if len(call.arguments) > 3 else frozenset()
    if flags & {"MSG_PEEK", "MSG_TRUNC", "MSG_ERRQUEUE"}:
        raise Gap(f"reading with {' '.join(sorted(flags))}")
    return int(kernel.socket(call.arguments[0]).read(call.arguments[2]))


def _sizes(pieces: Any) -> int:
    return sum(piece.items[1] for piece in pieces if isinstance(piece, Struct))


def _readv(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    return int(kernel.socket(call.arguments[0]).read(_sizes(call.arguments[1])))


def _recvmsg(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    return int(kernel.socket(call.arguments[0]).read(_sizes(call.arguments[1].fields["msg_iov"])))


def _send(kernel: Kernel, number: Any, size: int, flags: frozenset[str], progress: dict[str, Any]) -> int:
    socket = kernel.socket(number)
    if isinstance(socket, UdpSocket):
        return socket.send(size)
    return int(socket.write(size, progress, more="MSG_MORE" in flags))


def _write(kernel: Kernel, call: Call, progress: dict[str, Any]) -> int:
    flags = names(call.arguments[3]) if len(call.arguments) > 3 else frozenset()
    return _send(kernel, call.arguments[0], call.arguments[2], flags, progress)


def _writev(kernel: Kernel, call: Call, progress: dict[str, Any]) -> int:
    return _send(kernel, call.arguments[0], _sizes(call.arguments[1]), frozenset(), progress)


def _sendmsg(kernel: Kernel, call: Call, progress: dict[str, Any]) -> int:
    size = _sizes(call.arguments[1].fields["msg_iov"])
    return _send(kernel, call.arguments[0], size, names(call.arguments[2]), progress)


def _open(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    """A file: only `sendfile` takes it, and bytes are counted, never looked at."""
    return kernel.install(call, Socket(kernel.world))


def _sendfile(kernel: Kernel, call: Call, progress: dict[str, Any]) -> int:
    number, file, _, size = call.arguments
    kernel.socket(file)
    return _send(kernel, number, size, frozenset(), progress)


def _shutdown(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    kernel.socket(call.arguments[0]).shutdown(next(iter(call.arguments[1])))
    return 0


def _close(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    kernel.socket(call.arguments[0]).close()
    del kernel.open[call.arguments[0]]
    return 0


def _setsockopt(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    number, _, name, value = call.arguments[:4]
    set_option(kernel.socket(number), next(iter(name)), value)
    return 0


def _getsockopt(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    number, _, name, value = call.arguments[:4]
    found, wanted = get_option(kernel.socket(number), next(iter(name))), value[0] if isinstance(value, list) else ...
    if isinstance(wanted, frozenset):  # SO_ERROR, by the errno's name
        wanted = ERRNO_NUMBERS.get(next(iter(wanted)), ...)
    if wanted is not ... and found != wanted:
        raise ScriptError(f"{next(iter(name))} is {found}, expected {wanted}")
    return 0


def _fcntl(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    socket = kernel.socket(call.arguments[0])
    if "F_GETFL" in names(call.arguments[1]):
        return O_RDWR if socket.blocking else O_RDWR | O_NONBLOCK
    socket.blocking = "O_NONBLOCK" not in names(call.arguments[2])
    return 0


def _ioctl(kernel: Kernel, call: Call, _: dict[str, Any]) -> int:
    number, request, value = call.arguments
    connection = kernel.socket(number).connection
    if connection is None:
        raise SocketError("EINVAL")
    requests = {"SIOCINQ": lambda: connection.info().unread, "FIONREAD": lambda: connection.info().unread}
    requests |= {"SIOCOUTQ": lambda: queued(connection), "SIOCOUTQNSD": lambda: connection.info().unsent}
    found = requests[next(iter(request))]()
    if found != value[0]:
        raise ScriptError(f"{next(iter(request))} is {found}, expected {value[0]}")
    return 0


def _poll(kernel: Kernel, call: Call, progress: dict[str, Any]) -> int:
    entries, _, timeout = call.arguments
    until = progress.setdefault("until", kernel.world.now + timeout / 1000 if timeout >= 0 else float("inf"))
    found = []
    for entry in entries:
        asked = names(entry.fields["events"]) | {"POLLERR", "POLLHUP"}
        found.append(kernel.socket(entry.fields["fd"]).ready() & asked)
    if not any(found) and kernel.world.now < until:
        raise Block(until)
    for entry, events in zip(entries, found, strict=True):
        wanted = entry.fields["revents"]
        if wanted is not ... and events != names(wanted):
            raise ScriptError(f"poll says {sorted(events)}, expected {sorted(names(wanted))}")
    return sum(map(bool, found))


CALLS: dict[str, Callable[[Kernel, Call, dict[str, Any]], int]] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    "connect": _connect,
    "read": _read,
    "recv": _read,
    "recvfrom": _read,
    "readv": _readv,
    "recvmsg": _recvmsg,
    "write": _write,
    "send": _write,
    "sendto": _write,
    "writev": _writev,
    "sendmsg": _sendmsg,
    "open": _open,
    "sendfile": _sendfile,
    "shutdown": _shutdown,
    "close": _close,
    "setsockopt": _setsockopt,
    "getsockopt": _getsockopt,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "poll": _poll,
}
