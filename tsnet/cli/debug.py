"""`tsnet debug WHAT`: netmap, filter, derp, paths or timers of a node, as tables, or --json.

    tsnet debug paths --ping db          joins, asks how db is reached, and shows what came of it
    tsnet debug filter --check laptop :80

Not here: the tables (`debugtables`), what is in the values (`tsnet.engine.debug`).
"""

from __future__ import annotations

import json
from argparse import Namespace

from tsnet.cli import console
from tsnet.cli.debugtables import TABLES
from tsnet.cli.joining import joined
from tsnet.config import check_look
from tsnet.errors import DialTimeout
from tsnet.server import Server


def run(options: Namespace) -> int:
    check = tuple(options.check) if options.check else None
    check_look(options.what, check)
    with joined(options, passing=True) as node:
        for host in options.ping:
            _ping(node, host)
        shown = node.debug(options.what, check=check)
    print(json.dumps(shown, indent=2) if options.json else TABLES[options.what](shown))
    return 0


def _ping(node: Server, host: str) -> None:
    """So that there is something to see of that peer. One that does not answer is worth a look as well."""
    try:
        node.ping(host, kind="disco")
    except DialTimeout as error:
        console.fail(error)
