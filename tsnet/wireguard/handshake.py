"""Noise_IKpsk2 as immutable states: what was sent or received so far, and what follows from the next message.

    initiator                                              responder
    Idle -- create_initiation -->  Initiated
                                        e, es, s, ss, {timestamp}  -->  open_static (who is it?)  -> Opened
                                                                        open_timestamp (is it they?) -> Consumed
                                   <--  e, ee, se, psk, {}              create_response        -> Responded
    Initiated -- consume_response --> Keys                                                      with Keys

Every function computes on copies and returns the next state, or None for a message that does not open; whoever
holds a state replaces it in one assignment, so that a forged message leaves no trace.

An `Initiated` survives while its owner answers the other side's initiation: when both initiate at once, both
handshakes complete and the later session is used. (wireguard-go has one slot for both roles, loses both and waits
out REKEY_TIMEOUT.)

Source: WireGuard §5.4.2-5.4.5; Noise revision 34 §5.3, §7.5, §9; wireguard-go device/noise-protocol.go.
Not here: MACs (`cookie`), time stamps' order and retries (`peer`), transport (`session`).
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from tsnet.base.crypto import public_of, x25519
from tsnet.base.keys import NodeKey, NodePrivateKey, PrivateKey, PublicKey
from tsnet.base.malformed import MalformedError
from tsnet.base.noise import SymmetricState
from tsnet.wireguard.messages import Initiation, Response

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
NO_PSK = bytes(32)

_INITIAL = SymmetricState(CONSTRUCTION)
_INITIAL.mix_hash(IDENTIFIER)


@attrs.frozen
class StaticKeys:
    """Our side of every handshake."""

    private: NodePrivateKey
    public: NodeKey

    @classmethod
    def of(cls, private: NodePrivateKey) -> StaticKeys:
        return cls(private, public_of(private, NodeKey))


@attrs.frozen
class Remote:
    """Their side: static key, pre-shared key, and the static-static secret, computed once for a pair of keys."""

    public: NodeKey
    static_static: bytes = attrs.field(repr=False)
    psk: bytes = attrs.field(default=NO_PSK, repr=False)


class Keys(NamedTuple):
    """The two transport keys, seen from our side."""

    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return "<Keys (secret)>"


@attrs.frozen
class Idle:
    """No handshake of ours is under way."""


@attrs.frozen
class Initiated:
    """An initiation went out under the index `sender`."""

    sender: int
    ephemeral: PrivateKey
    noise: SymmetricState


@attrs.frozen
class Opened:
    """An initiation whose static key could be read. Not yet proof: anyone can encrypt a public key to us."""

    static: NodeKey
    message: Initiation
    noise: SymmetricState


@attrs.frozen
class Consumed:
    """An initiation that only the owner of `static` can have made, though perhaps long ago: mind the time stamp."""

    static: NodeKey
    sender: int
    ephemeral: bytes
    timestamp: bytes
    noise: SymmetricState


@attrs.frozen
class Responded:
    """A response goes out; its keys wait for the initiator's first packet."""

    response: Response
    keys: Keys


Handshake = Idle | Initiated
IDLE = Idle()


# --- initiator --------------------------------------------------------------------------------------------------


def create_initiation(
    us: StaticKeys, them: Remote, sender: int, ephemeral: PrivateKey, timestamp: bytes
) -> tuple[Initiated, Initiation]:
    """Raises MalformedError for a peer key of low order."""
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
    """Who says to be calling: one Diffie-Hellman."""
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
    """Whether it is they: only with the static-static secret does the time stamp open."""
    noise = opened.noise.copy()
    noise.mix_key(them.static_static)  # ss
    try:
        timestamp = noise.decrypt_and_hash(opened.message.timestamp)
    except MalformedError:
        return None
    return Consumed(opened.static, opened.message.sender, opened.message.ephemeral, timestamp, noise)


def create_response(consumed: Consumed, them: Remote, sender: int, ephemeral: PrivateKey) -> Responded:
    """Raises MalformedError if the initiator's ephemeral key is of low order."""
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
