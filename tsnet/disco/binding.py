"""The handshake with a peer relay for one session, and the first pings through it.

    we    ─► relay   Bind, at each of its addresses
    relay ─► we      Challenge, from the address that is used from now on
    we    ─► relay   Answer with the challenge, and behind it a ping to the peer
    peer  ─► we      its own ping: it is bound, too, and is pinged again; or a pong: the session works

What is lost is sent again after BIND_RETRIES. The handshake ends with a pong, or after the relay's bind lifetime, at
most MAX_BIND_LIFETIME. Later challenges, and those of another generation, VNI or peer, change nothing.

Source: Go wgengine/magicsock/relaymanager.go handshakeServerEndpoint; the retries are ours.
Not here: sealing and sending (`peerrelays`), the session once it works (`relaypath`).
"""

from __future__ import annotations

import math

from tsnet.base.addresses import PeerRelayAddress, UdpAddress
from tsnet.base.keys import DiscoKey
from tsnet.disco.constants import BIND_RETRIES, MAX_BIND_LIFETIME, MAX_BIND_PINGS
from tsnet.disco.geneve import MAX_VNI
from tsnet.disco.messages import (
    BindUDPRelayEndpoint,
    BindUDPRelayEndpointAnswer,
    BindUDPRelayEndpointChallenge,
    UDPRelayEndpoint,
)


class Binding:
    """relay: what was allocated. addresses: those of the relay that may be asked. remote_key: the peer's disco key.

    padding: of the pings to the peer. address: the relay's, once it has challenged us; its VNI is the session.
    """

    __slots__ = (
        "_challenge",
        "_pings",
        "_tries",
        "address",
        "addresses",
        "ends_at",
        "generation",
        "next_at",
        "padding",
        "peer",
        "relay",
        "remote_key",
    )

    def __init__(
        self,
        peer: bytes,
        remote_key: DiscoKey,
        relay: UDPRelayEndpoint,
        addresses: tuple[UdpAddress, ...],
        generation: int,
        now: float,
        padding: int = 0,
    ) -> None:
        self.peer: bytes = peer
        self.remote_key: DiscoKey = remote_key
        self.relay: UDPRelayEndpoint = relay
        self.addresses: tuple[UdpAddress, ...] = addresses
        self.generation: int = generation
        self.padding: int = padding
        self.address: PeerRelayAddress | None = None
        self.ends_at: float = now + min(relay.bind_lifetime_ns / 1e9, MAX_BIND_LIFETIME)
        self.next_at: float = now
        self._tries = 0
        self._challenge = b""
        self._pings: dict[bytes, float] = {}

    def deadline(self) -> float:
        return min(self.next_at, self.ends_at)

    # --- what is sent -----------------------------------------------------------------------------------------------

    def messages(self, now: float) -> list[tuple[UdpAddress, BindUDPRelayEndpoint]]:
        """For the relay, each with the address that it goes to. With an answer, the caller sends a ping, too."""
        self._tries += 1
        self.next_at = now + BIND_RETRIES[self._tries - 1] if self._tries <= len(BIND_RETRIES) else math.inf
        vni, key = self.relay.vni, self.remote_key
        if self.address is not None:
            answer = BindUDPRelayEndpointAnswer(vni, self.generation, key, self._challenge)
            return [(self.address.relay, answer)]
        return [(address, BindUDPRelayEndpoint(vni, self.generation, key)) for address in self.addresses]

    @property
    def is_new(self) -> bool:
        """Whether the relay has been asked once, and no more."""
        return self.address is None and self._tries == 1

    @property
    def may_ping(self) -> bool:
        return len(self._pings) < MAX_BIND_PINGS

    def pinged(self, tx_id: bytes, now: float) -> None:
        """A ping to the peer has been sent. Ask `may_ping` before."""
        self._pings[tx_id] = now

    # --- what comes -------------------------------------------------------------------------------------------------

    def challenged(self, source: UdpAddress, challenge: BindUDPRelayEndpointChallenge, now: float) -> bool:
        """Whether it is the first challenge of this handshake. `messages` has its answer then."""
        expected = self.relay.vni, self.generation, self.remote_key
        if self.address is not None or (challenge.vni, challenge.generation, challenge.remote_key) != expected:
            return False
        self.address = PeerRelayAddress(*source, challenge.vni)
        self._challenge = challenge.challenge
        self._tries, self.next_at = 0, now
        return True

    def ponged(self, tx_id: bytes, now: float) -> float | None:
        """How long the ping and its pong took, in seconds; None if that was none of ours."""
        at = self._pings.get(tx_id)
        return None if at is None else max(0.0, now - at)


def is_sound(relay: UDPRelayEndpoint) -> bool:
    """Whether a handshake with it can succeed at all, by its numbers."""
    return 0 < relay.vni <= MAX_VNI and relay.bind_lifetime_ns > 0 and relay.steady_state_lifetime_ns > 0
