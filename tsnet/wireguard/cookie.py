"""mac1, mac2 and cookies: proof that a sender knows our key and, under load, that it owns its address.

    mac1    BLAKE2s-128(key = H("mac1----" | receiver's public key), message before mac1)       always checked
    cookie  BLAKE2s-128(key = our secret of the last two minutes, source of the message)
    mac2    BLAKE2s-128(key = cookie, message before mac2)                                      checked under load
    reply   XChaCha20-Poly1305(key = H("cookie--" | our public key), nonce, cookie, aad = the message's mac1)

The maker is who sends handshake messages, one per peer; the checker is who receives them, one per device.

Source: WireGuard §5.4.4, §5.4.7; wireguard-go device/cookie.go.
Not here: what "under load" means (`admission`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from tsnet.base.addresses import Destination, PeerRelayAddress, UdpAddress
from tsnet.base.crypto import blake2s, keyed_blake2s, xaead_open, xaead_seal
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.wireguard.constants import COOKIE_LIFETIME
from tsnet.wireguard.messages import MAC_SIZE, CookieReply

_LABEL_MAC1 = b"mac1----"
_LABEL_COOKIE = b"cookie--"
_NO_MAC2 = bytes(MAC_SIZE)


class CookieMaker:
    """Puts both MACs on what we send to one peer, and keeps the cookie that the peer asked us to prove."""

    __slots__ = ("_cookie", "_cookie_at", "_cookie_key", "_last_mac1", "_mac1_key")

    def __init__(self, peer: NodeKey) -> None:
        self._mac1_key = blake2s(_LABEL_MAC1, peer)
        self._cookie_key = blake2s(_LABEL_COOKIE, peer)
        self._last_mac1 = b""
        self._cookie = b""
        self._cookie_at = 0.0

    def add_macs(self, message: bytes, now: float) -> bytes:
        """message: encoded, up to mac1."""
        mac1 = keyed_blake2s(self._mac1_key, message)
        self._last_mac1 = mac1
        message += mac1
        if self._cookie and now - self._cookie_at < COOKIE_LIFETIME:
            return message + keyed_blake2s(self._cookie, message)
        return message + _NO_MAC2

    def consume_reply(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie if the reply answers the last message sent; each message can be answered once."""
        if not self._last_mac1:
            return False
        try:
            cookie = xaead_open(self._cookie_key, reply.nonce, reply.cookie, self._last_mac1)
        except MalformedError:
            return False
        self._cookie, self._cookie_at, self._last_mac1 = cookie, now, b""
        return True


class CookieChecker:
    """Checks the MACs of what we receive, and makes cookies for senders that have yet to prove their address."""

    __slots__ = ("_cookie_key", "_entropy", "_mac1_key", "_secret", "_secret_at")

    def __init__(self, ours: NodeKey, entropy: Callable[[int], bytes]) -> None:
        self._mac1_key = blake2s(_LABEL_MAC1, ours)
        self._cookie_key = blake2s(_LABEL_COOKIE, ours)
        self._entropy = entropy
        self._secret = b""
        self._secret_at = 0.0

    def check_mac1(self, datagram: bytes) -> bool:
        """datagram: a whole initiation or response."""
        expected = keyed_blake2s(self._mac1_key, datagram[: -2 * MAC_SIZE])
        return hmac.compare_digest(expected, datagram[-2 * MAC_SIZE : -MAC_SIZE])

    def check_mac2(self, datagram: bytes, source: Destination, now: float) -> bool:
        if not self._secret or now - self._secret_at >= COOKIE_LIFETIME:
            return False
        expected = keyed_blake2s(self._cookie(source), datagram[:-MAC_SIZE])
        return hmac.compare_digest(expected, datagram[-MAC_SIZE:])

    def create_reply(self, datagram: bytes, source: Destination, now: float) -> bytes:
        """The cookie reply to a message whose mac1 was good; it goes to the message's source."""
        if not self._secret or now - self._secret_at >= COOKIE_LIFETIME:
            self._secret, self._secret_at = self._entropy(32), now
        nonce = self._entropy(24)
        mac1 = datagram[-2 * MAC_SIZE : -MAC_SIZE]
        sealed = xaead_seal(self._cookie_key, nonce, self._cookie(source), mac1)
        sender = int.from_bytes(datagram[4:8], "little")
        return CookieReply(sender, nonce, sealed).encode()

    def _cookie(self, source: Destination) -> bytes:
        return keyed_blake2s(self._secret, source_bytes(source))


def source_bytes(source: Destination) -> bytes:
    """What a cookie is bound to. Only its maker reads it, so any form that tells sources apart will do."""
    if isinstance(source, UdpAddress):
        return b"udp %s %d" % (source.host.encode(), source.port)
    if isinstance(source, PeerRelayAddress):
        return b"relayed %s %d %d" % (source.host.encode(), source.port, source.vni)
    return b"derp %d " % source.region + source.key
