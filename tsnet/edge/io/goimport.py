"""A node of Tailscale's own client becomes a node of ours: its state file is read, and written as a state of ours.

    tailscaled.state ─► GoNode ─► target: prefs, then identity

The file is only read. It may be that of tailscaled (/var/lib/tailscale) or of Go's tsnet, or the folder of either.
Not here: what is in it (`engine.gostate`).
"""

from __future__ import annotations

import os
from pathlib import Path

from tsnet.base.malformed import MalformedError
from tsnet.edge.io.copying import Place, opened, refuse_identity
from tsnet.edge.io.private import reason_of
from tsnet.engine.gostate import GoNode, decode_go_state
from tsnet.engine.saved import IDENTITY, PREFS, encode_identity, encode_prefs
from tsnet.errors import StateError

NAME = "tailscaled.state"
MAX_SIZE = 4 << 20


def read_go_state(file: str | os.PathLike[str], profile: str | None = None) -> GoNode:
    """Raises StateError, which names the file and says what to do."""
    path = Path(os.path.expanduser(file))
    path = path / NAME if os.path.isdir(path) else path  # Path.is_dir raises where it may not look
    try:
        with path.open("rb") as opened_file:
            text = opened_file.read(MAX_SIZE + 1)
    except OSError as error:
        raise StateError(f"the state file {path} cannot be read: {reason_of(error)}") from None
    try:
        if len(text) > MAX_SIZE:
            raise MalformedError(f"has more than {MAX_SIZE} bytes")
        return decode_go_state(text, profile, os.urandom)
    except MalformedError as error:
        raise StateError(f"the state file {path} {error}") from None


def import_go_state(file: str | os.PathLike[str], target: Place, *, profile: str | None = None) -> str:
    """Write the node of tailscaled.state into an empty store or directory; returns the URL of its control server.

    profile: its ID, key or login name in Go's state; None is the current one. A server with this state and that
    `control_url` is then the same node, and joins without a key. The Go node must not run again.
    Raises StateError, StateLocked.
    """
    node = read_go_state(file, profile)
    write_go_node(node, target)
    return node.identity.control_url


def write_go_node(node: GoNode, target: Place) -> None:
    """The identity is written last: an import that was interrupted can be made again."""
    with opened(target) as store:
        refuse_identity(store)
        if node.prefs:
            store.write(PREFS, encode_prefs(node.prefs))
        store.write(IDENTITY, encode_identity(node.identity))
