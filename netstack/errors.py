"""What a program can do wrong, and how a connection can end.

    NetstackError
    ├─ AddressInUse          the port is bound already
    ├─ AddressNotAvailable   no own address of that family, or no free port
    ├─ MessageTooLong        a datagram that UDP cannot carry
    └─ EndpointClosed        sending after `shutdown_write` or `close`

These are raised at once, by the call that is wrong. What the network does to a connection raises nothing: it is a
code in `TcpConnection.error` (or `UdpEndpoint.error`), from this table:

| code          | what happened                                                                              |
|---------------|--------------------------------------------------------------------------------------------|
| `refused`     | nobody listens there: RST to a SYN, ICMP port unreachable                                  |
| `reset`       | the peer broke the connection with RST                                                     |
| `timeout`     | the peer did not answer: SYN, retransmissions, probes or keepalives ran out; a forwarded   |
|               | flow of UDP was silent                                                                     |
| `unreachable` | ICMP said so while connecting, or before retransmissions ran out                           |
| `aborted`     | ended from this side: `abort`, the stack closed, the local address was taken away          |
"""

from __future__ import annotations

import errno
from typing import Final

REFUSED: Final = "refused"
RESET: Final = "reset"
TIMEOUT: Final = "timeout"
UNREACHABLE: Final = "unreachable"
ABORTED: Final = "aborted"


class NetstackError(Exception):
    """The base of everything that netstack raises on purpose."""


class AddressInUse(NetstackError, OSError):
    def __init__(self, message: str) -> None:
        super().__init__(errno.EADDRINUSE, message)


class AddressNotAvailable(NetstackError, OSError):
    def __init__(self, message: str) -> None:
        super().__init__(errno.EADDRNOTAVAIL, message)


class MessageTooLong(NetstackError, OSError):
    def __init__(self, message: str) -> None:
        super().__init__(errno.EMSGSIZE, message)


class EndpointClosed(NetstackError, BrokenPipeError):
    def __init__(self, message: str) -> None:
        super().__init__(errno.EPIPE, message)
