"""`tsnet status`: the nodes of the tailnet, as control describes them, and their paths; a table, or --json."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

import attrs

from tsnet.base.printable import printable
from tsnet.cli import console
from tsnet.cli.joining import joined
from tsnet.status import PeerStatus, Status


def run(options: Namespace) -> int:
    with joined(options, passing=True) as node:
        status = node.status()
    print(json.dumps(attrs.asdict(status), default=str, indent=2) if options.json else table(status))
    return 0


def table(status: Status) -> str:
    """One node a line, ourselves first: address, name, who, system, whether it is online, how it is reached."""
    rows = [_row(status.addresses, status.name, status.tags or (status.user_login,), "", "this node", "")]
    rows += [
        _row(
            peer.addresses,
            peer.name,
            peer.tags or (peer.user_login,),
            peer.os,
            _online(peer),
            str(peer.path) if peer.path else "",
        )
        for peer in status.peers
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    style = console.Style(sys.stdout)
    lines = []
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(style(console.DIM, line) if row[-2] == "offline" else line)
    return "\n".join(lines)


def _row(
    addresses: tuple[Any, ...], name: str, who: tuple[str, ...], system: str, state: str, path: str
) -> tuple[str, ...]:
    cells = (str(addresses[0]) if addresses else "-", name, ",".join(who) or "-", system or "-", state, path)
    return tuple(map(printable, cells))


def _online(peer: PeerStatus) -> str:
    return {True: "online", False: "offline", None: "-"}[peer.online]
