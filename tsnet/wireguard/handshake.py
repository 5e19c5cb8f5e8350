"""The Noise_IKpsk2 handshake as immutable states, and functions from a state and a message to the next state.

    initiator                                              responder
    Idle -- create_initiation -->  Initiated
                                        e, es, s, ss, {timestamp}  -->  open_static (claimed key) -> Opened
                                                                        open_timestamp (proof)    -> Consumed
                                   <--  e, ee, se, psk, {}              create_response        -> Responded
    Initiated -- consume_response --> Keys                                                      with Keys

Every function works on copies and returns the next state, or None for a message that does not open. The holder of a
state replaces it in one assignment, so that a forged message changes nothing.

An `Initiated` stays valid while its owner answers the other side's initiation: when both initiate at once, both
handshakes complete and the later session is used. (wireguard-go has one slot for both roles, loses both handshakes
and waits for REKEY_TIMEOUT.)

Source: WireGuard §5.4.2-5.4.5; Noise revision 34 §5.3, §7.5, §9; wireguard-go device/noise-protocol.go.
Not here: MACs (`cookie`), the order of time stamps and retries (`peer`), transport (`session`).
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from tsnet.base.crypto import public_of, x25519
from tsnet.base.keys import NodeKey, NodePrivateKey, PrivateKey, PublicKey
from tsnet.base.malformed import MalformedError
from tsnet.base.noise import SymmetricState
from tsnet.base.records import record
from tsnet.wireguard.messages import Initiation, Response

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
NO_PSK = bytes(32)

_INITIAL = SymmetricState(CONSTRUCTION)
_INITIAL.mix_hash(IDENTIFIER)


@record
class StaticKeys:
    """Our static keys, which every handshake uses."""

    private: NodePrivateKey
    public: NodeKey

    @classmethod
    def of(cls, private: NodePrivateKey) -> StaticKeys:
        return cls(private, public_of(private, NodeKey))


@record
class Remote:
    """A peer's static key and pre-shared key, and the static-static secret, computed once for a pair of keys."""

    public: NodeKey
    static_static: bytes = attrs.field(repr=False)
    psk: bytes = attrs.field(default=NO_PSK, repr=False)


class Keys(NamedTuple):
    """The two transport keys, seen from our side."""

    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return "<Keys (secret)>"


@record
class Idle:
    """No handshake of ours is under way."""


@record
class Initiated:
    """An initiation went out under the index `sender`."""

    sender: int
    ephemeral: PrivateKey
    noise: SymmetricState


@record
class Opened:
    """An initiation whose static key could be read. That proves nothing yet: anyone can encrypt a public key to us."""

    static: NodeKey
    message: Initiation
    noise: SymmetricState


@record
class Consumed:
    """An initiation that only the owner of `static` can have made. It may be a replay: check the time stamp."""

    static: NodeKey
    sender: int
    ephemeral: bytes
    timestamp: bytes
    noise: SymmetricState


@record
class Responded:
    """The response to send, and its keys, which the initiator's first packet confirms."""

    response: Response
    keys: Keys


Handshake = Idle | Initiated
IDLE = Idle()


# --- initiator --------------------------------------------------------------------------------------------------


def create_initiation(
    us: StaticKeys, them: Remote, sender: int, ephemeral: PrivateKey, timestamp: bytes
) -> tuple[Initiated, Initiation]:
    """The next state and the message to send. Raises MalformedError if the peer's key is of low order."""
    noise = _begin(them.public)
    ephemeral_public = public_of(ephemeral, PublicKey)
    noise.mix_hash(ephemeral_public)  # e
    noise.mix_chaining_key(ephemeral_public)
    noise.mix_key(x25519(ephemeral, them.public))  # es
    static = noise.encrypt_and_hash(us.public)  # s
    noise.mix_key(them.static_static)  # ss
    sealed_timestamp = noise.encrypt_and_hash(timestamp)
    return Initiated(sender, ephemeral, noise), Initiation(sender, ephemeral_public, static, sealed_timestamp)


def consume_response(us: StaticKeys, them: Remote, initiated: Initiated, response: Response) -> Keys | None:
    noise = initiated.noise.copy()
    try:
        _mix_response(
            noise,
            response.ephemeral,
            x25519(initiated.ephemeral, response.ephemeral),
            x25519(us.private, response.ephemeral),
            them.psk,
        )
        noise.decrypt_and_hash(response.empty)
    except MalformedError:
        return None
    send, receive = noise.split()
    return Keys(send, receive)


# --- responder --------------------------------------------------------------------------------------------------


def open_static(us: StaticKeys, message: Initiation) -> Opened | None:
    """Read who claims to call, at the cost of one Diffie-Hellman; None if it does not open."""
    noise = _begin(us.public)
    noise.mix_hash(message.ephemeral)  # e
    noise.mix_chaining_key(message.ephemeral)
    try:
        noise.mix_key(x25519(us.private, message.ephemeral))  # es
        static = NodeKey(noise.decrypt_and_hash(message.static))  # s
    except MalformedError:
        return None
    return Opened(static, message, noise)


def open_timestamp(opened: Opened, them: Remote) -> Consumed | None:
    """Prove who calls: the time stamp opens only with the static-static secret. None if it does not open."""
    noise = opened.noise.copy()
    noise.mix_key(them.static_static)  # ss
    try:
        timestamp = noise.decrypt_and_hash(opened.message.timestamp)
    except MalformedError:
        return None
    return Consumed(opened.static, opened.message.sender, opened.message.ephemeral, timestamp, noise)


def create_response(consumed: Consumed, them: Remote, sender: int, ephemeral: PrivateKey) -> Responded:
    """The response, and the keys of its session. Raises MalformedError if the initiator's ephemeral is of low order."""
    noise = consumed.noise.copy()
    ephemeral_public = public_of(ephemeral, PublicKey)
    _mix_response(
        noise,
        ephemeral_public,
        x25519(ephemeral, consumed.ephemeral),
        x25519(ephemeral, consumed.static),
        them.psk,
    )
    empty = noise.encrypt_and_hash(b"")
    receive, send = noise.split()
    return Responded(Response(sender, consumed.sender, ephemeral_public, empty), Keys(send, receive))


# --- both -------------------------------------------------------------------------------------------------------


def _begin(responder: NodeKey) -> SymmetricState:
    noise = _INITIAL.copy()
    noise.mix_hash(responder)  # the pre-message of IK
    return noise


def _mix_response(noise: SymmetricState, ephemeral: bytes, ee: bytes, se: bytes, psk: bytes) -> None:
    noise.mix_hash(ephemeral)  # e
    noise.mix_chaining_key(ephemeral)
    noise.mix_chaining_key(ee)
    noise.mix_chaining_key(se)
    noise.mix_key_and_hash(psk)
