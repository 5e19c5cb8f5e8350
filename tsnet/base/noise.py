"""The symmetric half of a Noise handshake (Noise §5.2), shared by WireGuard and ts2021.

Both use X25519, ChaCha20-Poly1305, BLAKE2s and a fresh AEAD key for every encryption, so each nonce is zero.
They differ in what follows the handshake, which is not here.

Source: Noise revision 34 §5.2; WireGuard §5.4; Go control/controlbase/handshake.go symmetricState.
"""

from __future__ import annotations

from tsnet.base.crypto import aead_open, aead_seal, blake2s, hkdf

ZERO_NONCE = bytes(12)


class SymmetricState:
    """The chaining key and the running hash. `copy()` before work that a forged message must not leave a trace of."""

    __slots__ = ("_key", "chaining_key", "hash")

    def __init__(self, protocol_name: bytes) -> None:
        self.chaining_key: bytes = (
            protocol_name.ljust(32, b"\0") if len(protocol_name) <= 32 else blake2s(protocol_name)
        )
        self.hash: bytes = self.chaining_key
        self._key = b""

    def copy(self) -> SymmetricState:
        twin = object.__new__(SymmetricState)
        twin.chaining_key, twin.hash, twin._key = self.chaining_key, self.hash, self._key
        return twin

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash, data)

    def mix_key(self, material: bytes) -> None:
        """Replace the chaining key and the encryption key (Noise MixKey; WireGuard KDF2)."""
        self.chaining_key, self._key = hkdf(self.chaining_key, material, 2)

    def mix_chaining_key(self, material: bytes) -> None:
        """Replace the chaining key only (WireGuard KDF1): the next encryption needs a `mix_key` first."""
        (self.chaining_key,) = hkdf(self.chaining_key, material, 1)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Noise MixKeyAndHash, for the pre-shared key (WireGuard KDF3)."""
        self.chaining_key, tau, self._key = hkdf(self.chaining_key, material, 3)
        self.mix_hash(tau)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = aead_seal(self._key, ZERO_NONCE, plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        """Raises MalformedError when the tag does not fit; the state is then spent."""
        plaintext = aead_open(self._key, ZERO_NONCE, sealed, self.hash)
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The two transport keys: initiator to responder, responder to initiator."""
        first, second = hkdf(self.chaining_key, b"", 2)
        return first, second

    def __repr__(self) -> str:
        return "<SymmetricState (secret)>"
