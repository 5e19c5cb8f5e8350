"""What a datagram is, by its first bytes. Everything that is neither disco nor STUN is WireGuard's to judge.

| protocol  | told by                                                                       |
|-----------|-------------------------------------------------------------------------------|
| disco     | bytes 0-5 are its magic                                                         |
| STUN      | two zero bits, then the magic cookie at 4 (RFC 8489 §5), binding method          |
| WireGuard | the rest; transport data (byte 0 is 4) is told apart at one glance per datagram |

What a peer relay forwards has a Geneve header before it. WireGuard is handed on without, from the session's address.
Disco keeps its own, which says whether it comes from the relay itself.

Source: Go wgengine/magicsock/magicsock.go packetLooksLike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tsnet.base.addresses import Destination, PeerRelayAddress, UdpAddress
from tsnet.disco import geneve
from tsnet.disco.box import MAGIC
from tsnet.netcheck.stun import is_stun

Batch = list[tuple[Destination, Sequence[bytes]]]
TRANSPORT = b"\4"
BINDING = 1
"""The second byte of STUN; of WireGuard it is 0, so that no session's index is taken for the cookie."""

RELAYED = geneve.header(geneve.WIREGUARD, 0)[:4]
"""How WireGuard begins that a peer relay has forwarded."""


def classify(runs: Iterable[tuple[Destination, Sequence[bytes]]]) -> tuple[Batch, Batch, Batch]:
    """Split runs into (WireGuard, disco, STUN); the order within each is kept."""
    wireguard: Batch = []
    disco: Batch = []
    stun: Batch = []
    for source, datagrams in runs:
        if not [1 for datagram in datagrams if datagram[:1] != TRANSPORT]:
            wireguard.append((source, datagrams))
            continue
        if type(source) is UdpAddress and all(datagram[:4] == RELAYED for datagram in datagrams):
            wireguard += _unwrapped(source, datagrams)
            continue
        for datagram in datagrams:
            if datagram.startswith(MAGIC):
                disco.append((source, (datagram,)))
            elif is_stun(datagram) and datagram[1] == BINDING:
                stun.append((source, (datagram,)))
            elif type(source) is UdpAddress and datagram[:1] == b"\0" and (found := geneve.decode(datagram)):
                if found.protocol == geneve.WIREGUARD:
                    wireguard += _unwrapped(source, (datagram,))
                else:
                    disco.append((source, (datagram,)))
            else:
                wireguard.append((source, (datagram,)))
    return wireguard, disco, stun


def _unwrapped(source: UdpAddress, datagrams: Sequence[bytes]) -> Batch:
    """WireGuard of a peer relay, as from its sessions. Those of one session stay together."""
    found: Batch = []
    known, session, inner = b"", None, list[bytes]()
    for datagram in datagrams:
        if datagram[: geneve.HEADER_SIZE] != known:
            known = datagram[: geneve.HEADER_SIZE]
            header = geneve.decode(datagram)
            session, inner = None if header is None else PeerRelayAddress(*source, header.vni), []
            found.append((source if session is None else session, inner))
        inner.append(datagram if session is None else datagram[geneve.HEADER_SIZE :])
    return found
