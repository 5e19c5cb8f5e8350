"""A userspace TCP/IP stack without IO: bytes in, bytes out, the clock passed in. Usable alone.

    stack = Stack(entropy=os.urandom)
    stack.set_addresses([ip_address("100.64.0.1")], now)
    connection = stack.connect(ip_address("100.64.0.2"), 80, now)
    for destination, packets in stack.transmit(now): …          # packets out
    stack.receive([(link, packets)], now)                       # packets in
    for endpoint in stack.take_ready(): …                       # who has news

Whoever drives it calls `receive` with what came, `transmit` until `deadline()` lies in the future, and then nothing
until a packet comes or the deadline does.
"""

from netstack.errors import AddressInUse, AddressNotAvailable, EndpointClosed, MessageTooLong, NetstackError
from netstack.icmp import EchoReply, IcmpEndpoint
from netstack.stack import Stack
from netstack.tcp.connection import TcpConnection
from netstack.tcp.forward import PendingConnection, TcpForwarder
from netstack.tcp.info import TcpInfo
from netstack.tcp.listener import TcpListener
from netstack.udp import Datagram, UdpEndpoint
from netstack.udp_flows import UdpFlow
from netstack.udp_forward import PendingFlow, UdpForwarder

__all__ = [
    "AddressInUse",
    "AddressNotAvailable",
    "Datagram",
    "EchoReply",
    "EndpointClosed",
    "IcmpEndpoint",
    "MessageTooLong",
    "NetstackError",
    "PendingConnection",
    "PendingFlow",
    "Stack",
    "TcpConnection",
    "TcpForwarder",
    "TcpInfo",
    "TcpListener",
    "UdpEndpoint",
    "UdpFlow",
    "UdpForwarder",
]
