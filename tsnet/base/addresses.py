"""Where a datagram goes or comes from, runs of datagrams, and the address ranges of a tailnet.

A *run* is `(destination, [packets])`: one destination, and packets of equal length but for the last, at most 64 KiB
together. The rooms hand runs to each other in both directions. `into_runs` cuts datagrams into runs; netstack cuts its
own.

Source: Go net/tsaddr/tsaddr.go for the ranges.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple, TypeVar

from tsnet.base.keys import NodeKey

IPAddress = IPv4Address | IPv6Address
IPPrefix = IPv4Network | IPv6Network

CGNAT = IPv4Network("100.64.0.0/10")
ULA = IPv6Network("fd7a:115c:a1e0::/48")
SERVICE_ADDRESSES = (IPv4Address("100.100.100.100"), IPv6Address("fd7a:115c:a1e0::53"))

MAX_RUN_BYTES = 65_535
"""The most bytes that one UDP_SEGMENT send or one TCP super-segment can carry."""

MAX_RUN_PAYLOAD = MAX_RUN_BYTES - 28
"""The most bytes that the datagrams of one run have together: MAX_RUN_BYTES less one header of UDP and one of IPv4."""

MAX_RUN_PACKETS = 49
"""The most datagrams in one run: 49 x 1312 bytes stay below the 65,507 of a UDP payload; the kernel's limit is 64."""


class UdpAddress(NamedTuple):
    """An address of the underlay, in the form that a socket takes. A v4-mapped v6 address is unmapped before."""

    host: str
    port: int


class DerpAddress(NamedTuple):
    """A node reached through a relay: region number and the node's key there."""

    region: int
    key: NodeKey


class PeerRelayAddress(NamedTuple):
    """A node reached through a peer that relays: where that one listens, and the number of the session there (VNI)."""

    host: str
    port: int
    vni: int

    @property
    def relay(self) -> UdpAddress:
        return UdpAddress(self.host, self.port)


Destination = UdpAddress | DerpAddress | PeerRelayAddress


def owner_of(host: str) -> Hashable:
    """Who is counted for an address of the underlay: a v4 address itself, of v6 its /64, which one site has whole."""
    return host if ":" not in host else IPv6Address(host.partition("%")[0]).packed[:8]


T = TypeVar("T")
Run = tuple[T, Sequence[bytes]]


def into_runs(destination: T, packets: Iterable[bytes]) -> list[tuple[T, list[bytes]]]:
    """Cut packets of one destination into runs, keeping their order."""
    runs: list[tuple[T, list[bytes]]] = []
    run: list[bytes] = []
    size = total = 0
    for packet in packets:
        length = len(packet)
        if run and (
            length > size or len(run[-1]) < size or total + length > MAX_RUN_PAYLOAD or len(run) >= MAX_RUN_PACKETS
        ):
            runs.append((destination, run))
            run = []
        if not run:
            size, total = length, 0
        run.append(packet)
        total += length
    if run:
        runs.append((destination, run))
    return runs


def is_tailnet_address(address: IPAddress) -> bool:
    """Whether the address lies in the ranges that only tailnets use."""
    return address in CGNAT if address.version == 4 else address in ULA


def bracketed(host: str) -> str:
    """The host as a URL or a Host header has it: an IPv6 address stands in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host else host


def join_host_port(host: str, port: int) -> str:
    """As Go's net.JoinHostPort."""
    return f"{bracketed(host)}:{port}"


def parse_port(text: str) -> int | None:
    """A port from 0 to 65535 in ASCII digits, or None: other digits, which `int` may or may not read, are none."""
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if is_number and int(text) <= 65_535 else None


def parse_address(text: str) -> IPAddress | None:
    """An IP literal (a v6 one with or without brackets), or None for a name."""
    if ":" not in text and not text[:1].isdigit():
        return None  # most names, and at once: `ip_address` builds two exceptions first
    try:
        address = ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
