"""A store in the keyring of the operating system: Keychain, Credential Manager, the Secret Service of a desktop.

    service `tsnet/<name>`   username <key>    password: base64 of the value
                             username `.keys`  password: the keys, with spaces in between, as a keyring lists nothing

A keyring has no lock. The one of a directory of that name, beside those of the nodes, stands in for it.

Windows keeps at most 1,280 characters in an entry, which is 960 bytes of a value. An identity has some 700, and fits;
preferences with many routes may not, nor a home relay of many servers, nor a netmap, and then writing them fails.

Source: the package keyring, https://pypi.org/project/keyring (`get_password`, `set_password`), which is no dependency.
Not here: files (`directory`), encryption with a key of the application (`encrypted`).
"""

from __future__ import annotations

import base64
import importlib
import os
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from tsnet.base.hostnames import sanitize_hostname
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.place import default_store
from tsnet.edge.io.store import check_key
from tsnet.errors import ConfigError, Error, StateError

T = TypeVar("T")
LISTED = ".keys"


class Keyring(Protocol):
    """The package keyring itself, or one of its backends."""

    def get_password(self, service: str, username: str, /) -> str | None: ...

    def set_password(self, service: str, username: str, password: str, /) -> None: ...


class KeyringStore:
    """A node's state in a keyring, under a name of its own, as its hostname.

    keyring: None imports the package `keyring`, which chooses the system's. Raises StateError, also at `open`, where
    there is no keyring or it stays locked. Unlocking it may ask the user, and `up` waits for that.
    """

    def __init__(self, name: str, keyring: Keyring | None = None) -> None:
        if not name or sanitize_hostname(name) != name:
            raise ConfigError(f"a keyring's entry takes a name such as a hostname, not {name!r}")
        self.name = name
        self._service = f"tsnet/{name}"
        self._keyring = keyring
        self._lock: DirectoryStore | None = None

    def open(self) -> None:
        lock = default_store("keyring." + self.name, os.environ)
        lock.open()
        try:
            self._read(LISTED)  # the keyring is there, and answers
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def read(self, key: str) -> bytes | None:
        text = self._read(check_key(key))
        try:
            return None if text is None else base64.b64decode(text, validate=True)
        except ValueError:
            raise StateError(
                f"the entry {key!r} of {self._service} in the keyring is damaged: it is no base64"
            ) from None

    def write(self, key: str, value: bytes) -> None:
        check_key(key)
        if self._lock is None:
            raise StateError(f"{key!r} cannot be written to the keyring: the store is not open")
        listed = (self._read(LISTED) or "").split()
        if key not in listed:  # listed first: a key without a value is no harm
            text = " ".join([*listed, key])
            self._write(LISTED, text)
            if self._read(LISTED) != text:
                raise StateError(
                    "the keyring of this system keeps nothing: it is switched off (`python -m keyring diagnose`). "
                    "Use a directory or tsnet.EncryptedStore"
                )
        self._write(key, base64.b64encode(value).decode())

    def keys(self) -> tuple[str, ...]:
        return tuple(key for key in sorted((self._read(LISTED) or "").split()) if self._read(key) is not None)

    def close(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _read(self, username: str) -> str | None:
        return self._asked(lambda ring: ring.get_password(self._service, username))

    def _write(self, username: str, text: str) -> None:
        self._asked(lambda ring: ring.set_password(self._service, username, text))

    def _asked(self, ask: Callable[[Keyring], T]) -> T:
        """The text of a keyring's own error may hold what was to be written: its type alone is told."""
        try:
            return ask(self._ring())
        except Error:
            raise
        except Exception as error:
            raise StateError(
                f"the keyring of this system failed ({type(error).__name__}). Unlock it, or see that there is one "
                "(`python -m keyring diagnose`); where there is none, as on a server, use a directory or "
                "tsnet.EncryptedStore"
            ) from None

    def _ring(self) -> Keyring:
        if self._keyring is None:
            try:
                self._keyring = cast(Keyring, importlib.import_module("keyring"))
            except ImportError:
                raise StateError(
                    "the package keyring, by which the keyring of this system is reached, is not installed: "
                    "pip install 'tsnet-py[keyring]'"
                ) from None
        return self._keyring
