"""setsockopt and getsockopt: which option does what to a connection.

TCP_NODELAY TCP_CORK SO_KEEPALIVE TCP_KEEP* TCP_USER_TIMEOUT TCP_CONGESTION SO_RCVBUF    the connection's setters
TCP_DEFER_ACCEPT  the listener's `defer`
TCP_MAXSEG        before connect or listen: their `max_segment`; read from an open connection: its segment's size
SO_LINGER         on, 0 seconds: close resets
SO_SNDBUF         doubled, as Linux does; a policy of `sockets`
SO_ERROR          read once
no effect here    SO_REUSEADDR, IP_TOS and the like: remembered, and read back
"""

from __future__ import annotations

from typing import Any

from netstack import TcpConnection
from tests.scripts.script import Struct
from tests.scripts.sockets import Socket, SocketError, TcpSocket
from tests.scripts.world import Gap

ERRNO_NUMBERS = {
    "EPIPE": 32,
    "ENETUNREACH": 101,
    "ECONNABORTED": 103,
    "ECONNRESET": 104,
    "ETIMEDOUT": 110,
    "ECONNREFUSED": 111,
    "EHOSTUNREACH": 113,
}
_KEEPALIVE = {"TCP_KEEPIDLE": 7200, "TCP_KEEPINTVL": 75, "TCP_KEEPCNT": 9}
_SEND_SLACK = 65_536
DEFAULTS = {"TCP_NOTSENT_LOWAT": 0, **_KEEPALIVE}


def set_option(socket: Socket, name: str, value: Any) -> None:
    if name == "TCP_CONGESTION":
        socket.congestion = value.decode()
        _set_congestion(socket)
        return
    if name == "SO_LINGER" and isinstance(value, Struct):
        socket.options[name] = value.fields["linger"] if value.fields["onoff"] else -1
        return
    number = value[0] if isinstance(value, list) else value
    if not isinstance(number, int):
        number = 0  # a name: of an option without effect here
    socket.options[name] = number * 2 if name in ("SO_SNDBUF", "SO_RCVBUF") else number
    if name == "TCP_DEFER_ACCEPT" and isinstance(socket, TcpSocket) and socket.listener is not None:
        socket.listener.defer = float(number)
    elif name != "TCP_MAXSEG":
        apply_option(socket, name)
    elif isinstance(socket, TcpSocket) and socket.listener is not None:
        socket.listener.max_segment = number


def apply_option(socket: Socket, name: str) -> None:
    """Tell the connection, if there is one, what was set."""
    connection = socket.connection if isinstance(socket, TcpSocket) else None
    if connection is None:
        return
    value, now = socket.options[name], socket.now
    if name == "TCP_NODELAY":
        connection.set_nodelay(bool(value))
    elif name == "TCP_CORK":
        _call(socket, "set_cork", bool(value), now)
    elif name == "TCP_USER_TIMEOUT":
        _call(socket, "set_user_timeout", value / 1000 or None, now)
    elif name == "SO_KEEPALIVE" or name in _KEEPALIVE:
        connection.set_keepalive(_keepalive(socket), now)
    elif name == "SO_SNDBUF" and hasattr(connection, "set_send_buffer"):
        connection.set_send_buffer(value + _SEND_SLACK)
    elif name == "TCP_LINGER2":
        _call(socket, "set_fin_timeout", float(value))
    elif name == "SO_RCVBUF":
        _call(socket, "set_receive_buffer", value)


def _set_congestion(socket: Socket) -> None:
    if socket.congestion is not None:
        _call(socket, "set_congestion", socket.congestion)


def apply_all(socket: Socket) -> None:
    """To a connection that has just been made: what was set before, on this socket or on the one that listens."""
    _set_congestion(socket)
    for name in socket.options:
        if name != "TCP_MAXSEG":
            apply_option(socket, name)


def _keepalive(socket: Socket) -> tuple[float, float, int] | None:
    if not socket.options.get("SO_KEEPALIVE"):
        return None
    idle, interval, count = (socket.options.get(name, default) for name, default in _KEEPALIVE.items())
    return float(idle), float(interval), count


def _call(socket: Socket, method: str, *arguments: Any) -> None:
    """A setter that the connection may not have."""
    connection = getattr(socket, "connection", None)
    if connection is not None:
        found = getattr(connection, method, None)
        if found is None:
            raise Gap(f"TcpConnection.{method}")
        found(*arguments)


def get_option(socket: Socket, name: str) -> int:
    connection: TcpConnection | None = getattr(socket, "connection", None)
    if name == "SO_ERROR":
        error = socket.take_error() if isinstance(socket, TcpSocket) else None
        return ERRNO_NUMBERS.get(error, -1) if error is not None else 0
    if name == "TCP_MAXSEG" and connection is not None:
        return connection.info().mss
    if name in socket.options:
        return socket.options[name]
    if name in DEFAULTS:
        return DEFAULTS[name]
    raise SocketError("ENOPROTOOPT")
