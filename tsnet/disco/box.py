"""The disco envelope: who sent it in clear, the message in a NaCl box.

| off | len    | field                                       |
|-----|--------|---------------------------------------------|
| 0   | 6      | magic `54 53 f0 9f 92 ac` ("TS💬")          |
| 6   | 32     | sender's disco key                          |
| 38  | 24     | nonce                                       |
| 62  | 16 + n | box: Poly1305 tag, then the message sealed  |

Nothing in it prevents a replay: a message is fresh only by its TxID.

Source: Go disco/disco.go, types/key/disco.go.
Not here: the messages (`messages`).
"""

from __future__ import annotations

from collections.abc import Callable

from tsnet.base.crypto import BOX_NONCE_SIZE, TAG_SIZE, box_shared, disco_public, shared_box_open, shared_box_seal
from tsnet.base.keys import KEY_SIZE, DiscoKey, DiscoPrivateKey
from tsnet.base.malformed import MalformedError

MAGIC = b"TS\xf0\x9f\x92\xac"
KEY_END = len(MAGIC) + KEY_SIZE
HEADER_SIZE = KEY_END + BOX_NONCE_SIZE
OVERHEAD = HEADER_SIZE + TAG_SIZE


def looks_like_disco(datagram: bytes) -> bool:
    """Whether it belongs here and not to WireGuard."""
    return datagram.startswith(MAGIC) and len(datagram) >= KEY_END


def sender_of(datagram: bytes) -> DiscoKey:
    """The key in clear, of a datagram that looks like disco: nothing is proven yet."""
    return DiscoKey(datagram[len(MAGIC) : KEY_END])


class Box:
    """Seals and opens with one disco key; the shared key of each correspondent is computed once."""

    def __init__(self, private_key: DiscoPrivateKey, entropy: Callable[[int], bytes]) -> None:
        self.public_key: DiscoKey = disco_public(private_key)
        self._private_key = private_key
        self._entropy = entropy
        self._shared: dict[DiscoKey, bytes] = {}

    def seal(self, recipient: DiscoKey, plaintext: bytes) -> bytes:
        nonce = self._entropy(BOX_NONCE_SIZE)
        return MAGIC + self.public_key + nonce + shared_box_seal(self._shared_with(recipient), nonce, plaintext)

    def open(self, datagram: bytes) -> bytes:
        """The plaintext of a datagram whose sender the caller knows. MalformedError if it is not for us."""
        if len(datagram) < OVERHEAD:
            raise MalformedError("disco datagram without a whole box")
        nonce, sealed = datagram[KEY_END:HEADER_SIZE], datagram[HEADER_SIZE:]
        return shared_box_open(self._shared_with(sender_of(datagram)), nonce, sealed)

    def forget(self, key: DiscoKey) -> None:
        """Drop the key shared with this correspondent."""
        self._shared.pop(key, None)

    def _shared_with(self, key: DiscoKey) -> bytes:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = box_shared(self._private_key, key)
        return shared

    def __repr__(self) -> str:
        return f"<Box of {self.public_key!r}>"
