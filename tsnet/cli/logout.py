"""`tsnet logout`: have control forget a kept node. The next one to use its state logs in as on the first day.

Not here: the request (`control.client.authroutine`).
"""

from __future__ import annotations

from argparse import Namespace

from tsnet.cli import console
from tsnet.cli.joining import CLOSE_TIMEOUT, server
from tsnet.cli.login import is_registered
from tsnet.cli.signals import undisturbed
from tsnet.cli.state import place
from tsnet.engine.saved import IDENTITY
from tsnet.errors import StateError


def run(options: Namespace) -> int:
    store = place(options)
    if store.read(IDENTITY) is None:
        raise StateError(f"there is no state of a node in {store.path}")
    node = server(options, state=store)
    if not is_registered(store, node._config.control_url):
        console.say(f"the node in {store.path} is not logged in")
        return 0
    try:
        node.logout(timeout=options.timeout)
    finally:
        with undisturbed():
            node.close(timeout=CLOSE_TIMEOUT)
    console.say(f"the node in {store.path} is logged out")
    return 0
