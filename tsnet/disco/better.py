"""Which of two direct addresses that have answered is the better one.

| points                                             | how many                          |
|----------------------------------------------------|-----------------------------------|
| the faster one is faster by so many per cent        | 0 to 100, to the faster one       |
| loopback; else link-local; else a private address   | 50; 30; 20                        |
| IPv6                                               | 10                                |

The one with more points wins, but a lead of one per cent alone replaces nothing: two equal ones would take turns.

Source: Go wgengine/magicsock/endpoint.go betterAddr.
Not here: whether an address may be used at all (`directpath`), sizes that a path carries.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from tsnet.base.addresses import UdpAddress

PRIVATE = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
PRIVATE_V6 = IPv6Network("fc00::/7")


def is_better(one: UdpAddress, latency: float, other: UdpAddress | None, other_latency: float) -> bool:
    """Whether `one` should take the place of `other`. Latencies in seconds."""
    if other is None:
        return True
    if one == other:
        return False
    points, others = _points(one), _points(other)
    if latency > other_latency:
        others += _per_cent_faster(other_latency, latency)
    elif other_latency > 0:
        points += _per_cent_faster(latency, other_latency)
    if points <= 1 and not others:
        return False
    return points > others


def _per_cent_faster(fast: float, slow: float) -> int:
    """In whole per cent, counted in nanoseconds as Go does."""
    return 100 - round(fast * 1e9) * 100 // max(1, round(slow * 1e9))


def _points(address: UdpAddress) -> int:
    host = ip_address(address.host)
    points = 10 if host.version == 6 else 0
    if host.is_loopback:
        return points + 50
    if host.is_link_local:
        return points + 30
    return points + (20 if _is_private(host) else 0)


def _is_private(host: IPv4Address | IPv6Address) -> bool:
    return host in PRIVATE_V6 if isinstance(host, IPv6Address) else any(host in network for network in PRIVATE)
