"""A userspace TCP/IP stack without IO: bytes in, bytes out, the clock passed in. Usable alone.

    stack = Stack(entropy=os.urandom)
    stack.set_addresses([ip_address("100.64.0.1")], now)
    connection = stack.connect(ip_address("100.64.0.2"), 80, now)
    for destination, packets in stack.transmit(now): …          # packets out
    stack.receive([(link, packets)], now)                       # packets in
    for endpoint in stack.take_ready(): …                       # who has news

Whoever drives it calls `receive` with what came, `transmit` until `deadline()` lies in the future, and then nothing
until a packet comes or the deadline does.

Every name is imported when it is first used, so that whoever needs a constant of a part does not pay for the whole.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netstack.errors import AddressInUse as AddressInUse
    from netstack.errors import AddressNotAvailable as AddressNotAvailable
    from netstack.errors import EndpointClosed as EndpointClosed
    from netstack.errors import MessageTooLong as MessageTooLong
    from netstack.errors import NetstackError as NetstackError
    from netstack.icmp import EchoReply as EchoReply
    from netstack.icmp import IcmpEndpoint as IcmpEndpoint
    from netstack.stack import Stack as Stack
    from netstack.tcp.connection import TcpConnection as TcpConnection
    from netstack.tcp.forward import PendingConnection as PendingConnection
    from netstack.tcp.forward import TcpForwarder as TcpForwarder
    from netstack.tcp.info import TcpInfo as TcpInfo
    from netstack.tcp.listener import TcpListener as TcpListener
    from netstack.udp import Datagram as Datagram
    from netstack.udp import UdpEndpoint as UdpEndpoint
    from netstack.udp_flows import UdpFlow as UdpFlow
    from netstack.udp_forward import PendingFlow as PendingFlow
    from netstack.udp_forward import UdpForwarder as UdpForwarder

_WHERE = {
    "AddressInUse": "netstack.errors",
    "AddressNotAvailable": "netstack.errors",
    "Datagram": "netstack.udp",
    "EchoReply": "netstack.icmp",
    "EndpointClosed": "netstack.errors",
    "IcmpEndpoint": "netstack.icmp",
    "MessageTooLong": "netstack.errors",
    "NetstackError": "netstack.errors",
    "PendingConnection": "netstack.tcp.forward",
    "PendingFlow": "netstack.udp_forward",
    "Stack": "netstack.stack",
    "TcpConnection": "netstack.tcp.connection",
    "TcpForwarder": "netstack.tcp.forward",
    "TcpInfo": "netstack.tcp.info",
    "TcpListener": "netstack.tcp.listener",
    "UdpEndpoint": "netstack.udp",
    "UdpFlow": "netstack.udp_flows",
    "UdpForwarder": "netstack.udp_forward",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'netstack' has no attribute {name!r}")
    value = getattr(importlib.import_module(where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
