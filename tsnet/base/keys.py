"""Typed keys, with Tailscale's text forms and redacted private halves.

| key       | curve   | private text | public text  | lifetime                               |
|-----------|---------|--------------|--------------|----------------------------------------|
| machine   | X25519  | `privkey:`   | `mkey:`      | the installation; Noise with control   |
| node      | X25519  | `privkey:`   | `nodekey:`   | until logout or expiry; WireGuard, DERP |
| disco     | X25519  | none         | `discokey:`  | the process                            |
| challenge | X25519  | none         | `chalpub:`   | one control connection                 |
| lock      | Ed25519 | `nlpriv:`    | `nlpub:`     | the installation; Tailnet Lock         |
| token     | Ed25519 | none         | none         | as control's machine key; id tokens    |

The text is the prefix and lower-case hex. Public keys are `bytes`, so that they are dictionary keys at C speed.
Private keys are opaque: they have no `bytes()`, cannot be pickled, and compare in constant time; `repr` shows nothing.

Source: Go types/key/{machine,node,disco,nl,chal,util}.go.
Not here: what is done with a key (`crypto`), where it is saved (`tsnet.edge.io`).
"""

from __future__ import annotations

import hmac
from typing import ClassVar, NoReturn, Self

from tsnet.base.malformed import MalformedError

KEY_SIZE = 32


class PublicKey(bytes):
    """32 bytes with a type and a text prefix. Equality and hash are those of bytes."""

    __slots__ = ()
    prefix: ClassVar[str] = ""

    def __new__(cls, raw: bytes) -> Self:
        if len(raw) != KEY_SIZE:
            raise MalformedError(f"{cls.__name__} is {len(raw)} bytes, not {KEY_SIZE}")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `prefix` and 64 hex digits; raises MalformedError for anything else."""
        return cls(_parse(cls.prefix, text, KEY_SIZE))

    @classmethod
    def zero(cls) -> Self:
        return cls(bytes(KEY_SIZE))

    @property
    def is_zero(self) -> bool:
        return not any(self)

    def text(self) -> str:
        return self.prefix + self.hex()

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.hex()[:10]}>"


class MachineKey(PublicKey):
    """Identifies an installation to control. Control's own Noise key has this type, too."""

    __slots__ = ()
    prefix = "mkey:"


class NodeKey(PublicKey):
    """Identifies a node: it is the WireGuard static key and the DERP identity."""

    __slots__ = ()
    prefix = "nodekey:"


class DiscoKey(PublicKey):
    """Identifies a process to the path discovery of its peers."""

    __slots__ = ()
    prefix = "discokey:"


class ChallengeKey(PublicKey):
    """Control's key for one connection, sent in the early Noise payload."""

    __slots__ = ()
    prefix = "chalpub:"


class LockKey(PublicKey):
    """Ed25519 public key of Tailnet Lock."""

    __slots__ = ()
    prefix = "nlpub:"


class TokenKey(PublicKey):
    """Ed25519 public key of a control server that signs id tokens."""

    __slots__ = ()


class PrivateKey:
    """A secret of `size` bytes. Only `reveal` and `reveal_text` give it; crypto and what encodes state call them."""

    __slots__ = ("_secret",)
    prefix: ClassVar[str] = "privkey:"
    size: ClassVar[int] = KEY_SIZE

    def __init__(self, raw: bytes) -> None:
        if len(raw) != self.size:
            raise MalformedError(f"{type(self).__name__} is not {self.size} bytes")
        self._secret = self.normalise(raw)

    @staticmethod
    def normalise(raw: bytes) -> bytes:
        """Clamp, as Curve25519 asks (Go types/key/util.go clamp25519Private)."""
        return bytes([raw[0] & 248]) + raw[1:31] + bytes([raw[31] & 127 | 64])

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(_parse(cls.prefix, text, cls.size))
        except MalformedError:
            raise MalformedError(f"not a {cls.__name__} text") from None  # the text is the secret

    def reveal(self) -> bytes:
        return self._secret

    def reveal_text(self) -> str:
        return self.prefix + self._secret.hex()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (secret)>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret and cannot be pickled")


class MachinePrivateKey(PrivateKey):
    __slots__ = ()


class NodePrivateKey(PrivateKey):
    __slots__ = ()


class DiscoPrivateKey(PrivateKey):
    __slots__ = ()


class ChallengePrivateKey(PrivateKey):
    __slots__ = ()


class LockPrivateKey(PrivateKey):
    """Ed25519: 64 bytes, seed then public key (Go types/key/nl.go)."""

    __slots__ = ()
    prefix = "nlpriv:"
    size = 64

    @staticmethod
    def normalise(raw: bytes) -> bytes:
        return raw


class TokenPrivateKey(PrivateKey):
    """Ed25519: the 32 bytes that RFC 8032 calls the private key."""

    __slots__ = ()

    @staticmethod
    def normalise(raw: bytes) -> bytes:
        return raw


def _parse(prefix: str, text: str, size: int) -> bytes:
    digits = text[len(prefix) :]
    if not text.startswith(prefix) or len(digits) != 2 * size:
        raise MalformedError(f"expected {prefix} and {2 * size} hex digits")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise MalformedError(f"expected {prefix} and {2 * size} hex digits") from None
