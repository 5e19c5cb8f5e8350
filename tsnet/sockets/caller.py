"""Who calls, told by a name: the node's end of an accepted connection is bound to one that holds its addresses.

    Linux       NUL "tsnet/" key "/" remote host "/" remote port "/" local host "/" local port     at most 107 bytes
    elsewhere   a path in a private directory: the same from the key on, with "," for "/"

So whoever accepts the connection, be it Python, a C library or a forked child, finds the addresses in `getpeername`.
The key makes the name unique on this machine. A path that would be too long is the key alone. The key alone is also
the name of a farewell, which stands for the end of the listener.

Not here: who connects (`kernel_door`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tsnet.protocols import Address


_PREFIX = "\0tsnet/"
_FAREWELL = "farewell."
_MAX_PATH = 103
"""Bytes of a path that every AF_UNIX takes: those of macOS. Linux takes 107."""


class Caller(NamedTuple):
    """The addresses of an accepted connection."""

    local: Address
    remote: Address


UNKNOWN = Caller(("0.0.0.0", 0), ("0.0.0.0", 0))


def name_of(caller: Caller, directory: str | None = None) -> str:
    """A new name. directory: where it is a path; None for one of Linux's abstract names."""
    (local_host, local_port), (remote_host, remote_port) = caller
    name = _named(f"{_key()}/{remote_host}/{remote_port}/{local_host}/{local_port}", directory)
    return name if directory is None or len(os.fsencode(name)) <= _MAX_PATH else _named(_key(), directory)


def farewell_name(directory: str | None = None) -> str:
    return _named(_FAREWELL + _key(), directory)


def _named(text: str, directory: str | None) -> str:
    return _PREFIX + text if directory is None else os.path.join(directory, text.replace("/", ","))


def _key() -> str:
    return os.urandom(4).hex()


def is_farewell(name: str | bytes) -> bool:
    return _parts(name)[0].startswith(_FAREWELL)


def caller_of(name: str | bytes) -> Caller:
    """Whom a name tells; UNKNOWN if it has no addresses."""
    try:
        _, remote_host, remote_port, local_host, local_port = _parts(name)
        return Caller((local_host, int(local_port)), (remote_host, int(remote_port)))
    except ValueError:
        return UNKNOWN


def _parts(name: str | bytes) -> list[str]:
    text = os.fsdecode(name)
    return text[len(_PREFIX) :].split("/") if text.startswith(_PREFIX) else os.path.basename(text).split(",")
