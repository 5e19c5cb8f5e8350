"""Whether an address may be sent a ping or a pong, whoever named it.

| address                                    | may it?                                                         |
|--------------------------------------------|-----------------------------------------------------------------|
| port 0, unspecified, multicast             | never                                                           |
| broadcast and the rest of 240.0.0.0/4      | never                                                           |
| loopback                                   | only while this machine has no other address (DiscoModes)       |
| fe80::/10 without a zone                   | never: nobody can tell on which link                            |
| fd7a:115c:a1e0::/48, 127.3.3.40            | never: addresses of the tailnet, and of no host                 |
| the rest, 100.64.0.0/10 among them         | yes: a carrier's NAT has such addresses, too                    |

Source: Go wgengine/magicsock/endpoint.go handleCallMeMaybe; RFC 1112 §4, RFC 4291 §2.
Not here: our own addresses, which `directpaths` leaves out.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from tsnet.base.addresses import ULA, UdpAddress

DERP_MAGIC_ADDRESS = "127.3.3.40"
"""Stands for "through DERP region <port>" wherever an IP address is asked for; never on a wire but in a Pong."""


def is_pingable(address: UdpAddress, *, loopback: bool) -> bool:
    """loopback: whether this machine has no other address."""
    try:
        host = ip_address(address.host)
    except ValueError:
        return False
    if not 0 < address.port < 65_536 or address.host == DERP_MAGIC_ADDRESS:
        return False
    if host.is_loopback:
        return loopback
    if host.is_unspecified or host.is_multicast:
        return False
    if isinstance(host, IPv6Address):
        return host not in ULA and (not host.is_link_local or host.scope_id is not None)
    return not host.is_reserved  # 240.0.0.0/4
