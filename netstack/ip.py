"""What all protocols above share: own addresses, path MTUs, and the way out for single packets.

    addresses   in the order they were set; the first of a family is the source of what leaves
    path MTU    of a remote address: the link's (the stack's unless set), lowered by ICMP for ten minutes
    outbox      whole packets that belong to no connection: datagrams, echoes, errors, resets. At most 1 MiB: a
                packet that finds it full is dropped and counted ("outbox: full")
    dropped     every reason for which anything was ever dropped, with its count
    ready       endpoints whose readiness has changed since `take_ready`

Source: RFC 1122 §3.3, RFC 6864 (identification), RFC 6724 in so far as one address a family leaves a choice.
Not here: packets to an own address turn round in `netstack.stack`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from netstack import fragments
from netstack.wire import ipv4, ipv6

IPAddress = IPv4Address | IPv6Address
MAX_OUTBOX_BYTES = 1024 * 1024
PATH_MTU_LIFETIME = 600.0
MAX_PATH_MTUS = 4096


class IpLayer:
    """One instance a stack, handed to each protocol."""

    __slots__ = (
        "_identification",
        "_path_mtus",
        "addresses",
        "dropped",
        "entropy",
        "link_mtus",
        "mtu",
        "outbox",
        "outbox_bytes",
        "ready",
        "receive_mtu",
        "takes_any",
    )

    def __init__(self, entropy: Callable[[int], bytes], mtu: int) -> None:
        self.entropy: Callable[[int], bytes] = entropy
        self.mtu: int = mtu
        self.receive_mtu: int = mtu  # packets from others may be so long, whatever we send
        self.takes_any: set[int] = set()  # protocols of which packets to others' addresses are taken
        self.link_mtus: dict[Hashable, int] = {}
        self.addresses: dict[bytes, IPAddress] = {}
        self.dropped: Counter[str] = Counter()
        self.ready: dict[Any, None] = {}
        self.outbox: list[tuple[bytes, bytes]] = []
        self.outbox_bytes: int = 0
        self._identification = int.from_bytes(entropy(4), "big")
        self._path_mtus: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def set_addresses(self, addresses: Iterable[IPAddress]) -> None:
        self.addresses = {address.packed: address for address in addresses}

    def source_for(self, remote: bytes) -> bytes | None:
        """The own address that packets to `remote` come from; None if there is none of its family."""
        if remote in self.addresses:
            return remote
        for address in self.addresses:
            if len(address) == len(remote):
                return address
        return None

    def link_mtu(self, link: Hashable) -> int:
        return self.link_mtus.get(link, self.mtu)

    def path_mtu(self, remote: bytes, now: float, link: Hashable = None) -> int:
        known = self._path_mtus.get(remote)
        if known is None:
            return self.link_mtu(link)
        if known[1] <= now:
            del self._path_mtus[remote]
            return self.link_mtu(link)
        return min(self.link_mtu(link), known[0])

    def lower_path_mtu(self, remote: bytes, mtu: int, now: float, link: Hashable = None) -> int:
        """Believe an ICMP message about the way to `remote`; the path's MTU from now on. It never grows by this."""
        floor = ipv4.MIN_MTU if len(remote) == 4 else ipv6.MIN_MTU
        mtu = min(max(mtu, floor), self.path_mtu(remote, now, link))
        self._path_mtus[remote] = (mtu, now + PATH_MTU_LIFETIME)
        self._path_mtus.move_to_end(remote)
        if len(self._path_mtus) > MAX_PATH_MTUS:
            self._path_mtus.popitem(last=False)
        return mtu

    def send(self, destination: bytes, packet: bytes) -> bool:
        """Queue one whole packet; False if the outbox is full."""
        if self.outbox_bytes + len(packet) > MAX_OUTBOX_BYTES:
            self.dropped["outbox: full"] += 1
            return False
        self.outbox.append((destination, packet))
        self.outbox_bytes += len(packet)
        return True

    def send_payload(self, source: bytes, destination: bytes, protocol: int, payload: bytes, now: float) -> bool:
        """Put an IP header before a payload, cut it into fragments if the path asks for that, and queue it."""
        version = ipv4 if len(source) == 4 else ipv6
        mtu = self.path_mtu(destination, now)
        if version.HEADER_SIZE + len(payload) <= mtu:
            return self.send(destination, version.header(source, destination, protocol, len(payload)) + payload)
        if self.outbox_bytes + len(payload) > MAX_OUTBOX_BYTES:
            self.dropped["outbox: full"] += 1
            return False
        self._identification = (self._identification + 1) & 0xFFFF_FFFF
        build = self._v4_fragment if len(source) == 4 else self._v6_fragment
        room = mtu - ipv4.HEADER_SIZE if len(source) == 4 else mtu - ipv6.HEADER_SIZE - ipv6.FRAGMENT_HEADER_SIZE
        sent = True
        for offset, more, piece in fragments.cut(payload, room):
            sent &= self.send(destination, build(source, destination, protocol, offset, more, piece))
        return sent

    def _v4_fragment(
        self, source: bytes, destination: bytes, protocol: int, offset: int, more: bool, piece: bytes
    ) -> bytes:
        field = offset >> 3 | (ipv4.MORE_FRAGMENTS if more else 0)
        identification = self._identification & 0xFFFF
        head = ipv4.header(source, destination, protocol, len(piece), identification=identification, fragment=field)
        return head + piece

    def _v6_fragment(
        self, source: bytes, destination: bytes, protocol: int, offset: int, more: bool, piece: bytes
    ) -> bytes:
        size = ipv6.FRAGMENT_HEADER_SIZE + len(piece)
        head = ipv6.header(source, destination, ipv6.FRAGMENT, size)
        between = ipv6.fragment_header(protocol, offset, more=more, identification=self._identification)
        return head + between + piece


@lru_cache(maxsize=4096)
def address_of(packed: bytes) -> IPAddress:
    """The address object of 4 or 16 bytes."""
    return ip_address(packed)
