"""The only file that imports a cryptography library.

X25519, ChaCha20-Poly1305, BLAKE2s (hash, HMAC, keyed MAC), HKDF, XChaCha20-Poly1305, NaCl box, Ed25519; and RS256 and
ES256, of others' tokens.
`cryptography` carries the data (its AEAD costs 1.3 us per 1280 bytes when the object is kept). libsodium does the rest:
it has NaCl boxes and XChaCha20, and takes half as long for a key agreement. It is imported at first use, and with it
nothing else, whereas the first key of `cryptography` imports all kinds of keys that it knows.

Source: RFC 7748, RFC 8439, RFC 7693, RFC 5869, RFC 7518 §3.3, §3.4; NaCl crypto_box.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tsnet.base.keys import (
    ChallengeKey,
    ChallengePrivateKey,
    DiscoKey,
    DiscoPrivateKey,
    LockKey,
    LockPrivateKey,
    MachineKey,
    MachinePrivateKey,
    NodeKey,
    NodePrivateKey,
    PrivateKey,
    PublicKey,
    TokenKey,
    TokenPrivateKey,
)
from tsnet.base.malformed import MalformedError

TAG_SIZE = 16
POINT_SIZE = 32
BOX_NONCE_SIZE = 24

Aead = ChaCha20Poly1305
"""Keep one per key: `seal = Aead(key).encrypt(nonce, plaintext, aad)`; `decrypt` raises `InvalidTag`."""

__all__ = [
    "BOX_NONCE_SIZE",
    "TAG_SIZE",
    "Aead",
    "InvalidTag",
    "aead_open",
    "aead_seal",
    "blake2s",
    "box_open",
    "box_seal",
    "box_shared",
    "challenge_public",
    "disco_public",
    "hkdf",
    "hmac_blake2s",
    "keyed_blake2s",
    "lock_private_from_seed",
    "lock_public",
    "machine_public",
    "node_public",
    "public_of",
    "shared_box_open",
    "shared_box_seal",
    "token_private_of",
    "token_public",
    "token_signature",
    "x25519",
    "xaead_open",
    "xaead_seal",
]

_Public = TypeVar("_Public", bound=PublicKey)


def blake2s(*parts: bytes) -> bytes:
    """BLAKE2s-256 of the parts, joined."""
    return hashlib.blake2s(b"".join(parts)).digest()


def keyed_blake2s(key: bytes, data: bytes, size: int = 16) -> bytes:
    """BLAKE2s with its own key parameter, as WireGuard's mac1, mac2 and cookie use it (not HMAC)."""
    return hashlib.blake2s(data, key=key, digest_size=size).digest()


def hmac_blake2s(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2s")


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """RFC 5869 over HMAC-BLAKE2s with empty info, `outputs` blocks of 32 bytes: WireGuard's KDF1..3, Noise's HKDF."""
    pseudo_random_key = hmac_blake2s(chaining_key, material)
    blocks: list[bytes] = []
    block = b""
    for number in range(1, outputs + 1):
        block = hmac_blake2s(pseudo_random_key, block + bytes([number]))
        blocks.append(block)
    return blocks


def x25519(private: PrivateKey, public: bytes) -> bytes:
    """The shared secret; raises MalformedError for a point of low order (all-zero secret), or of another length."""
    if len(public) != POINT_SIZE:  # which libsodium's binding does not look at: it would read on behind it
        raise MalformedError(f"public key of {len(public)} bytes")
    try:
        shared: bytes = _sodium().crypto_scalarmult(private.reveal(), public)
    except Exception:  # libsodium's own error class is only importable with libsodium
        raise MalformedError("public key of low order") from None
    return shared


def public_of(private: PrivateKey, kind: type[_Public]) -> _Public:
    return kind(_sodium().crypto_scalarmult_base(private.reveal()))


def machine_public(private: MachinePrivateKey) -> MachineKey:
    return public_of(private, MachineKey)


def node_public(private: NodePrivateKey) -> NodeKey:
    return public_of(private, NodeKey)


def disco_public(private: DiscoPrivateKey) -> DiscoKey:
    return public_of(private, DiscoKey)


def challenge_public(private: ChallengePrivateKey) -> ChallengeKey:
    return public_of(private, ChallengeKey)


def lock_private_from_seed(seed: bytes) -> LockPrivateKey:
    """The 64-byte form (seed then public key) of the Ed25519 key that grows from these 32 bytes."""
    _public, private = _sodium().crypto_sign_seed_keypair(seed)
    return LockPrivateKey(private)


def lock_public(private: LockPrivateKey) -> LockKey:
    return LockKey(private.reveal()[32:])


def token_private_of(control: MachinePrivateKey) -> TokenPrivateKey:
    """The key with which a control server that has this machine key signs id tokens: the same after each restart."""
    return TokenPrivateKey(keyed_blake2s(control.reveal(), b"id-token", 32))


def token_public(private: TokenPrivateKey) -> TokenKey:
    public, _private = _sodium().crypto_sign_seed_keypair(private.reveal())
    return TokenKey(public)


def token_signature(private: TokenPrivateKey, message: bytes) -> bytes:
    """64 bytes (RFC 8032)."""
    _public, secret = _sodium().crypto_sign_seed_keypair(private.reveal())
    signed: bytes = _sodium().crypto_sign(message, secret)
    return signed[:64]


def aead_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def aead_open(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Raises MalformedError when the tag does not fit."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise MalformedError("authentication failed") from None


def xaead_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """XChaCha20-Poly1305, 24-byte nonce (WireGuard cookie replies)."""
    sealed: bytes = _sodium().crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, nonce, key)
    return sealed


def xaead_open(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    try:
        plaintext: bytes = _sodium().crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except Exception:  # as in x25519
        raise MalformedError("authentication failed") from None
    return plaintext


def box_shared(private: PrivateKey, public: bytes) -> bytes:
    """The precomputed key of a NaCl box between the two; keep it per peer. MalformedError for a point of low order."""
    try:
        shared: bytes = _sodium().crypto_box_beforenm(public, private.reveal())
    except Exception:  # as in x25519
        raise MalformedError("public key of low order") from None
    return shared


def shared_box_seal(shared: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Tag then ciphertext; the nonce is the caller's to send."""
    sealed: bytes = _sodium().crypto_box_easy_afternm(plaintext, nonce, shared)
    return sealed


def shared_box_open(shared: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Raises MalformedError when the tag does not fit."""
    if len(sealed) < TAG_SIZE:
        raise MalformedError("box shorter than its tag")
    try:
        plaintext: bytes = _sodium().crypto_box_open_easy_afternm(sealed, nonce, shared)
    except Exception:  # as in x25519
        raise MalformedError("box does not open") from None
    return plaintext


def box_seal(private: PrivateKey, public: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    return shared_box_seal(box_shared(private, public), nonce, plaintext)


def box_open(private: PrivateKey, public: bytes, nonce: bytes, sealed: bytes) -> bytes:
    return shared_box_open(box_shared(private, public), nonce, sealed)


def rs256_verifies(n: int, e: int, signature: bytes, message: bytes) -> bool:
    """PKCS #1 v1.5 over SHA-256. Raises MalformedError for numbers that are no RSA key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        public = rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise MalformedError("no RSA key") from None
    return _verifies(public.verify, signature, message, padding.PKCS1v15(), hashes.SHA256())


def es256_verifies(x: int, y: int, signature: bytes, message: bytes) -> bool:
    """ECDSA on P-256 over SHA-256; r and s in 32 bytes each. Raises MalformedError for no point of the curve."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    try:
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise MalformedError("no point of P-256") from None
    if len(signature) != 64:
        return False
    pair = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    return _verifies(public.verify, pair, message, ec.ECDSA(hashes.SHA256()))


def _verifies(verify: Callable[..., None], *arguments: object) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        verify(*arguments)
    except InvalidSignature:
        return False
    return True


@functools.cache
def _sodium() -> ModuleType:
    import nacl.bindings

    module: ModuleType = nacl.bindings
    return module
