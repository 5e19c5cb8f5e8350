"""`tsnet ping HOST`: round trips through the tunnel, and by which path. Exit code 1 if none was answered."""

from __future__ import annotations

import time
from argparse import Namespace

from tsnet.cli import console
from tsnet.cli.joining import joined
from tsnet.edge.run.dialing import PingResult
from tsnet.errors import DialTimeout

INTERVAL = 1.0


def run(options: Namespace) -> int:
    answered = 0
    with joined(options, passing=True) as node:
        for number in range(options.count):
            if number:
                time.sleep(INTERVAL)
            try:
                result = node.ping(options.host, kind=options.kind)
            except DialTimeout as error:
                console.fail(error)
                continue
            answered += 1
            console.show(pong(options.host, result))
    return 0 if answered else 1


def pong(host: str, result: PingResult) -> str:
    """A line for one answer."""
    path = result.path.address if result.path.is_direct else str(result.path)
    via = f" via {path}" if result.path else ""
    return f"pong from {host} ({result.address}){via} in {result.seconds * 1000:.1f} ms, {result.kind}"
