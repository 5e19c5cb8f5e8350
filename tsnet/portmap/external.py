"""Which external addresses a router may give us: those at which somebody outside could reach it.

| address                                            | why it is no use                                                |
|----------------------------------------------------|-----------------------------------------------------------------|
| 0.0.0.0/8                                          | the router has none itself                                      |
| 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3           | nothing on the internet                                         |
| 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16          | another NAT is in between; peers would ask their own neighbours |
| 100.64.0.0/10                                      | the same; and tailnets use these addresses                      |
| 192.0.0.0/24                                       | the router's end of a tunnel to its provider                    |
| IPv6                                               | what we ask for is IPv4                                         |

Source: RFC 6890.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TypeGuard

from tsnet.base.addresses import CGNAT, IPAddress

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_UNUSABLE = {
    **dict.fromkeys(PRIVATE, "external address private"),
    CGNAT: "external address private",
    IPv4Network("192.0.0.0/24"): "external address private",
    IPv4Network("0.0.0.0/8"): "external address unspecified",
    IPv4Network("127.0.0.0/8"): "external address loopback",
    IPv4Network("169.254.0.0/16"): "external address link-local",
    IPv4Network("224.0.0.0/3"): "external address multicast or reserved",
}


def is_private(address: IPAddress | None) -> TypeGuard[IPv4Address]:
    """Whether this looks like an address of a home or office network (RFC 1918)."""
    return isinstance(address, IPv4Address) and any(address in network for network in PRIVATE)


def why_unusable(address: IPAddress, port: int) -> str:
    """Why nobody outside can reach this address and port; empty if somebody may."""
    if address.version != 4:
        return "external address not v4"
    if port == 0:
        return "external port 0"
    return next((why for network, why in _UNUSABLE.items() if address in network), "")
