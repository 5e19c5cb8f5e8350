"""`tsnet state import FILE`: take over a node of Tailscale's own client. `tsnet state show`: what a state says.

Not here: Go's format (`engine.gostate`), ours (`engine.saved`).
"""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterator

from tsnet.base.hostnames import sanitize_hostname
from tsnet.base.wording import Wording, api
from tsnet.cli import console
from tsnet.config import DEFAULT_CONTROL_URL
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.goimport import read_go_state, write_go_node
from tsnet.edge.io.place import default_store, directory_at, load
from tsnet.engine.saved import (
    CONTROL_KEY,
    IDENTITY,
    PREFS,
    UDP_PORT,
    decode_control,
    decode_identity,
    decode_port,
    decode_prefs,
)
from tsnet.errors import ConfigError, StateError


def run(options: Namespace) -> int:
    if options.what == "show":
        if options.file or options.profile:
            raise ConfigError("tsnet state show takes no FILE and no --profile: --state-dir says what to show")
        return show(place(options))
    if not options.file:
        raise ConfigError("tsnet state import wants FILE: a tailscaled.state, or the folder that it is in")
    node = read_go_state(options.file, options.profile)
    store = place(options, node.prefs.get("hostname", ""))
    write_go_node(node, store)
    url = node.identity.control_url
    where = [] if url == DEFAULT_CONTROL_URL else ["--control-url", url]
    command = shlex.join(["tsnet", "status", "--state-dir", str(store.path), *where])
    console.say(f"imported {node.profile} into {store.path}. Do not start the Go node again: both would be one machine")
    console.say(f"try it with: {command}")
    return 0


def place(options: Namespace, hostname: str = "") -> DirectoryStore:
    """--state-dir, or where the library keeps a node of that name."""
    if options.state_dir:
        return directory_at(options.state_dir)
    name = sanitize_hostname(options.hostname or os.environ.get("TS_HOSTNAME") or hostname)
    if not name:
        raise ConfigError(Wording("name the place with ", api("state="), ", or the node with ", api("hostname=")))
    return default_store(name, os.environ)


def show(store: DirectoryStore) -> int:
    """What is known of the node, one thing a line."""
    if store.read(IDENTITY) is None:
        raise StateError(f"there is no state of a node in {store.path}")
    for name, value in _lines(store):
        console.show(f"{name:<15} {value}")
    return 0


def _lines(store: DirectoryStore) -> Iterator[tuple[str, object]]:
    from tsnet.base.crypto import machine_public

    identity = load(store, IDENTITY, decode_identity)
    assert identity is not None
    yield "directory", store.path
    yield "control", identity.control_url or "-"
    known = load(store, CONTROL_KEY, decode_control)
    if known is not None:
        yield "control's key", f"{known.key} ({known.control_url})"
    yield "login", identity.login_name or "-"
    yield "node id", identity.stable_id or "-"
    yield "node key", identity.public
    yield "machine key", machine_public(identity.machine_key)
    yield "registered", "yes" if identity.registered else "no"
    yield "ephemeral", {True: "yes", False: "no", None: "not known"}[identity.ephemeral]
    yield from (load(store, PREFS, decode_prefs) or {}).items()
    port = load(store, UDP_PORT, decode_port)
    if port:
        yield "UDP port", port
