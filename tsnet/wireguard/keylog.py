"""The secrets of a handshake, for whoever decrypts a capture of this node's datagrams: Wireshark's WireGuard key log.

| line                           | whose                                                           |
|--------------------------------|-----------------------------------------------------------------|
| LOCAL_STATIC_PRIVATE_KEY = …   | our node key                                                    |
| REMOTE_STATIC_PUBLIC_KEY = …   | the peer's node key                                             |
| LOCAL_EPHEMERAL_PRIVATE_KEY = …| ours, of this handshake                                         |
| PRESHARED_KEY = …              | of the two; it belongs to the ephemeral key before it           |

Keys are base64. Each handshake message of ours has an ephemeral key of its own, and tells it before it is sent; so a
reader of both, file and datagrams, never waits for a key.

Source: Wireshark epan/dissectors/packet-wireguard.c; Linux contrib/examples/extract-handshakes of wireguard-tools.
Not here: the file (`edge.io.keylogfile`), when it is written at all (`config`, WG_KEYLOGFILE).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable

import attrs

from tsnet.base.keys import NodeKey, NodePrivateKey, PrivateKey
from tsnet.base.records import record


@record
class HandshakeSecrets:
    """What opens every datagram of the session that this handshake makes, in both directions."""

    static: NodePrivateKey
    peer: NodeKey
    ephemeral: PrivateKey
    psk: bytes = attrs.field(repr=False)

    def lines(self) -> bytes:
        """The four lines. They are secret."""
        return b"".join(
            name + b" = " + b2a_base64(key)
            for name, key in (
                (b"LOCAL_STATIC_PRIVATE_KEY", self.static.reveal()),
                (b"REMOTE_STATIC_PUBLIC_KEY", bytes(self.peer)),
                (b"LOCAL_EPHEMERAL_PRIVATE_KEY", self.ephemeral.reveal()),
                (b"PRESHARED_KEY", self.psk),
            )
        )


KeyLog = Callable[[HandshakeSecrets], object]
"""Never raises."""
