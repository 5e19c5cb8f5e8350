"""A store whose values are encrypted with a key of the application, kept in any other store.

    | bytes | what                                                                                     |
    |-------|------------------------------------------------------------------------------------------|
    | 8     | `tsnet-e1`                                                                               |
    | 8     | which key: the first bytes of the BLAKE2s of `tsnet-e1` under it                         |
    | 24    | nonce, random for each write                                                             |
    | n+16  | XChaCha20-Poly1305; its additional data is the first 16 bytes and the name of the value  |

So a value that was put under another name does not open, and what is not encrypted is refused: whoever can write to
the inner store can destroy the state, or bring an older value back, but cannot plant an identity.

    rotation   EncryptedStore(inner, key=new, old_keys=[old])   `open` writes every value that an old key sealed anew

Source: draft-irtf-cfrg-xchacha-03.
Not here: what keeps the bytes (`directory`, `keyringstore`), where the application has its key from.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence

from tsnet.base.malformed import MalformedError
from tsnet.base.wording import Api, Wording, api
from tsnet.edge.io.store import Store, check_key
from tsnet.errors import ConfigError, StateError, WrongStateKey

MAGIC = b"tsnet-e1"
KEY_SIZE, NONCE_SIZE, MARK_SIZE = 32, 24, 8
_HEAD = len(MAGIC) + MARK_SIZE


class EncryptedStore:
    """What `wrapped` keeps is encrypted with `key`, 32 random bytes; `os.urandom(32)` makes some.

    old_keys: earlier ones. `open` replaces what they sealed, after which they are not needed any more. If the process
    dies meanwhile, the next `open` with the same keys goes on. Reading raises WrongStateKey if no key here fits.
    """

    def __init__(self, wrapped: Store, *, key: bytes, old_keys: Iterable[bytes] = ()) -> None:
        if isinstance(wrapped, (str, os.PathLike)):
            raise ConfigError(f"an EncryptedStore wraps a store: tsnet.DirectoryStore({os.fspath(wrapped)!r}), say")
        self.wrapped = wrapped
        self._keys: Sequence[bytes] = [
            _checked(api("key="), key),
            *(_checked(api("old_keys="), old) for old in old_keys),
        ]

    def open(self) -> None:
        self.wrapped.open()
        try:
            if len(self._keys) > 1:
                self._rotate()
        except BaseException:
            with contextlib.suppress(Exception):
                self.wrapped.close()
            raise

    def read(self, key: str) -> bytes | None:
        sealed = self.wrapped.read(check_key(key))
        return None if sealed is None else self._unsealed(key, bytes(sealed))[0]

    def write(self, key: str, value: bytes) -> None:
        self.wrapped.write(check_key(key), self._sealed(key, value))

    def keys(self) -> Iterable[str]:
        return self.wrapped.keys()

    def close(self) -> None:
        self.wrapped.close()

    def __repr__(self) -> str:
        return f"EncryptedStore({type(self.wrapped).__name__})"

    def _rotate(self) -> None:
        for name in tuple(self.wrapped.keys()):
            sealed = self.wrapped.read(name)
            if sealed is not None:
                value, key = self._unsealed(name, bytes(sealed))
                if key is not self._keys[0]:
                    self.write(name, value)

    def _sealed(self, name: str, value: bytes) -> bytes:
        from tsnet.base.crypto import xaead_seal  # what needs libsodium is imported when it is used

        key = self._keys[0]
        head, nonce = MAGIC + _mark(key), os.urandom(NONCE_SIZE)
        return head + nonce + xaead_seal(key, nonce, value, head + name.encode())

    def _unsealed(self, name: str, sealed: bytes) -> tuple[bytes, bytes]:
        """The value, and the key that opened it."""
        from tsnet.base.crypto import xaead_open

        head, nonce, body = sealed[:_HEAD], sealed[_HEAD : _HEAD + NONCE_SIZE], sealed[_HEAD + NONCE_SIZE :]
        if not head.startswith(MAGIC):
            raise StateError(
                f"the value of {name!r} is not encrypted, and this store holds nothing else. If it is your own, copy "
                "it with tsnet.copy_state into a store that is empty; if it is not, somebody may have planted it"
            )
        key = next((key for key in self._keys if _mark(key) == head[len(MAGIC) :]), None)
        if key is None and len(head) == _HEAD:
            raise WrongStateKey(
                Wording(
                    f"the value of {name!r} was encrypted with another key. Pass the key of the last run with ",
                    api("key="),
                    ", or, to replace it, among ",
                    api("old_keys="),
                )
            )
        try:
            if key is None:
                raise MalformedError("cut short")
            return xaead_open(key, nonce, body, head + name.encode()), key
        except MalformedError:
            raise StateError(
                f"the value of {name!r} is damaged, or was that of another name: its seal does not fit. "
                "Restore it from a backup"
            ) from None


def _checked(option: Api, key: bytes) -> bytes:
    if not isinstance(key, bytes) or len(key) != KEY_SIZE:
        raise ConfigError(
            Wording(option, f" takes {KEY_SIZE} bytes that nobody can guess, as os.urandom({KEY_SIZE}) makes")
        )
    return key


def _mark(key: bytes) -> bytes:
    """What tells keys apart and says nothing of them."""
    from tsnet.base.crypto import keyed_blake2s

    return keyed_blake2s(key, MAGIC, MARK_SIZE)
