"""What a datagram is, by its first bytes. Everything that is neither disco nor STUN is WireGuard's to judge.

| protocol  | told by                                                                       |
|-----------|-------------------------------------------------------------------------------|
| disco     | bytes 0-5 are its magic                                                         |
| STUN      | two zero bits, then the magic cookie at 4 (RFC 8489 §5), binding method          |
| WireGuard | the rest; transport data (byte 0 is 4) is told apart at one glance per datagram |

Source: Go wgengine/magicsock/magicsock.go packetLooksLike. Geneve comes with peer relays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tsnet.base.addresses import Destination
from tsnet.disco.box import MAGIC
from tsnet.netcheck.stun import is_stun

Batch = list[tuple[Destination, Sequence[bytes]]]
TRANSPORT = b"\4"
BINDING = 1
"""The second byte of STUN; of WireGuard it is 0, so that no session's index is taken for the cookie."""


def classify(runs: Iterable[tuple[Destination, Sequence[bytes]]]) -> tuple[Batch, Batch, Batch]:
    """Split runs into (WireGuard, disco, STUN); the order within each is kept."""
    wireguard: Batch = []
    disco: Batch = []
    stun: Batch = []
    for source, datagrams in runs:
        if all(datagram[:1] == TRANSPORT for datagram in datagrams):
            wireguard.append((source, datagrams))
            continue
        for datagram in datagrams:
            if datagram.startswith(MAGIC):
                disco.append((source, (datagram,)))
            elif is_stun(datagram) and datagram[1] == BINDING:
                stun.append((source, (datagram,)))
            else:
                wireguard.append((source, (datagram,)))
    return wireguard, disco, stun
