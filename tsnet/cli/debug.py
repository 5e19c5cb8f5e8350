"""`tsnet debug WHAT`: netmap, filter, derp, paths or timers of a node, as tables, or --json.

    tsnet debug paths --ping db          joins, asks how db is reached, and shows what came of it
    tsnet debug filter --check laptop :80

A node that has just joined has not measured its relays, and control does not know its endpoints. So the command waits
until peers can reach it, but no longer than `SETTLING`: what keeps it from that is to be seen as well.

Not here: the tables (`debugtables`), what is in the values (`tsnet.engine.debug`).
"""

from __future__ import annotations

import json
from argparse import Namespace

from tsnet.cli import console
from tsnet.cli.debugtables import TABLES
from tsnet.cli.joining import joined
from tsnet.config import check_look
from tsnet.errors import DialTimeout, Error, UpTimeout
from tsnet.server import Server

SETTLING = 5.0
"""Seconds."""


def run(options: Namespace) -> int:
    check = tuple(options.check) if options.check else None
    check_look(options.what, check)
    with joined(options, passing=True) as node:
        if options.what != "filter":
            _settle(node)
        for host in options.ping:
            _ping(node, host)
        shown = node.debug(options.what, check=check)
    print(json.dumps(shown, indent=2) if options.json else TABLES[options.what](shown))
    return 0


def _settle(node: Server) -> None:
    try:
        node.reachable(timeout=SETTLING)
    except UpTimeout:
        console.say(f"peers cannot reach this node yet, after {SETTLING:g} s; this is how far it is")
    except Error as error:
        console.fail(error)


def _ping(node: Server, host: str) -> None:
    """So that there is something to see of that peer. One that does not answer is worth a look as well."""
    try:
        node.ping(host, kind="disco")
    except DialTimeout as error:
        console.fail(error)
