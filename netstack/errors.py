"""The exceptions of netstack, and the codes that say how a connection ended.

    NetstackError
    ├─ AddressInUse          the port is bound already
    ├─ AddressNotAvailable   no own address of that family, or no free port
    ├─ MessageTooLong        a datagram that UDP cannot carry
    └─ EndpointClosed        sending after `shutdown_write` or `close`

The call that is wrong raises one of these at once. What the network does to a connection raises nothing:
`TcpConnection.error` (or `UdpEndpoint.error`) then holds a code from this table:

| code          | what happened                                                                              |
|---------------|--------------------------------------------------------------------------------------------|
| `refused`     | nobody listens there: RST to a SYN, ICMP port unreachable, or `Stack.refuse`, which may    |
|               | give a code of its own                                                                     |
| `reset`       | the peer broke the connection with RST                                                     |
| `timeout`     | the peer did not answer: SYN, retransmissions, probes or keepalives ran out; a forwarded   |
|               | flow of UDP was silent                                                                     |
| `unreachable` | ICMP said so while connecting, or before retransmissions ran out                           |
| `aborted`     | this side ended it: `abort`, the stack was closed, or the local address was taken away     |
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
    """The base of the errors above. An argument that makes no sense raises ValueError instead."""


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
