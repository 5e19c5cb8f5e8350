"""Where a state was used last, to notice when a directory is started from that is another one than before.

| what has changed since the last start                     | then                                                |
|-----------------------------------------------------------|-----------------------------------------------------|
| the directory's inode                                     | told: it was copied, restored, or moved to a disk   |
| the machine's id, and both are known                      | told: it comes from another machine                 |
| the path, the container                                   | nothing: a volume keeps its inode                   |
| nothing was noted yet, or the note cannot be read         | nothing                                             |

It is told once, in the log and as a `StateMoved`, and never refused: a state may move. What matters is that the node
does not run in both places, which the reader alone knows.

The machine is a hash of /etc/machine-id under a key of ours, as that file's manual asks. In a container it is not
known: each one may have its own, or that of its image.

Source: Linux machine-id(5).
Not here: two that run at once on one machine (`claim`), the bytes (`engine.saved`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from tsnet.base.records import record
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.place import load
from tsnet.edge.io.store import Store
from tsnet.engine.saved import WHEREABOUTS, Whereabouts, decode_whereabouts
from tsnet.errors import Error

MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
OF_A_CONTAINER = ("/.dockerenv", "/run/.containerenv")
LABEL = b"tsnet-py whereabouts"
MAX_ID = 64


@record
class StateMoved:
    """(event) The state was used last in another directory, or on another machine: it was moved or copied. `reason`."""

    reason: str


def whereabouts_of(store: Store, machine: str) -> Whereabouts | None:
    """None if the store has no directory, or keeps something else in one."""
    kept_by = getattr(store, "wrapped", store)
    if not isinstance(kept_by, DirectoryStore):
        return None
    try:
        return Whereabouts(machine, os.stat(kept_by.path).st_ino)
    except OSError:
        return None


def last_whereabouts(store: Store) -> Whereabouts | None:
    """A note that cannot be read keeps no node from beginning."""
    with contextlib.suppress(Error):
        return load(store, WHEREABOUTS, decode_whereabouts)
    return None


def how_moved(before: Whereabouts | None, now: Whereabouts | None) -> str:
    """What to tell, as a sentence without its full stop; "" if there is nothing."""
    if before is None or now is None:
        return ""
    if before.machine and now.machine and before.machine != now.machine:
        place = "on another machine"
    elif before.directory != now.directory:
        place = "in another directory"
    else:
        return ""
    return (
        f"its state was used last {place}, from where it was moved or copied: the node must not run there any more, "
        "or the two take each other's traffic"
    )


def machine_mark(environ: Mapping[str, str], *, root: Path = Path("/")) -> str:
    """What tells this machine from others; "" if nothing does, or in a container."""
    from tsnet.base.crypto import keyed_blake2s

    within = [root / path.lstrip("/") for path in OF_A_CONTAINER]
    if "KUBERNETES_SERVICE_HOST" in environ or any(path.exists() for path in within):
        return ""
    for path in MACHINE_IDS:
        with contextlib.suppress(OSError), open(root / path.lstrip("/"), "rb") as file:
            text = file.read(MAX_ID).strip()
            if len(text) == 32:  # not "uninitialized", as the image of a machine has it
                return keyed_blake2s(LABEL, text, 8).hex()
    return ""
