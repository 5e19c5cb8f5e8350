"""`tsnet login`: log a kept node in, once; whoever uses its state from then on needs neither key nor person.

| the state                                | what happens                                                            |
|------------------------------------------|-------------------------------------------------------------------------|
| none, or logged out                      | it joins, by an auth key or a person                                    |
| logged in                                | nothing, but with --auth-key, --client-secret, … or --force a new login |
| expired                                  | a new login, by an auth key or a person                                 |

The URL for a person is printed wherever stderr goes, and waited for; a terminal also gets a QR code of it.

Not here: the login (`control.client`), how a terminal shows a URL (`edge.io.terminal`).
"""

from __future__ import annotations

import sys
from argparse import Namespace

from tsnet.cli import console
from tsnet.cli.joining import CLOSE_TIMEOUT, server
from tsnet.cli.signals import undisturbed
from tsnet.cli.state import place
from tsnet.edge.io.place import load
from tsnet.edge.io.store import Store
from tsnet.engine.saved import IDENTITY, decode_identity


def run(options: Namespace) -> int:
    store = place(options)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    node = server(options, state=store, on_auth_url=None if is_terminal else _tell)
    wants_another = options.force or options.auth_key or options.client_secret or options.client_id
    try:
        if wants_another and is_registered(store, node._config.control_url):
            node.login(force=True, timeout=options.timeout)
        else:
            node.up(timeout=options.timeout)
        owner = node.status().user_login
        console.say(f"{node.fqdn} ({', '.join(map(str, node.addresses))}) is logged in as {owner or 'nobody'}")
        console.say(f"its state is in {store.path}")
    finally:
        with undisturbed():
            node.close(timeout=CLOSE_TIMEOUT)
    return 0


def is_registered(store: Store, control_url: str) -> bool:
    """Whether a node of that control server is kept there. It is read without opening the store: nothing is written."""
    identity = load(store, IDENTITY, decode_identity)
    return identity is not None and identity.is_known and identity.control_url in ("", control_url)


def _tell(url: str) -> None:
    console.say(f"to log in, visit {url}")
