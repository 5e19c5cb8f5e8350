"""`tsnet serve MODULE:APP | FOLDER | PORT`: an app, files or a local port on the tailnet, until Ctrl-C or SIGTERM.

Once peers can reach it, stdout gets two lines: the URL, then the addresses. An app and a folder learn the caller from
the tailnet, and never get a Tailscale-* header. A raw port gets the bytes as they come, and stderr says so.
"""

from __future__ import annotations

import traceback
from argparse import Namespace
from collections.abc import Iterable

from tsnet.adapters.identity import admission
from tsnet.cli import console
from tsnet.cli.joining import joined
from tsnet.cli.signals import Terminated
from tsnet.cli.target import AppFailed, Target, find_target
from tsnet.engine.facts import Problem
from tsnet.errors import ConfigError
from tsnet.events import Event, ServiceEnded
from tsnet.server import Server


def run(options: Namespace) -> int:
    try:
        target = find_target(options.target)
    except AppFailed as failed:
        traceback.print_exception(failed.__cause__)
        console.say(str(failed))
        return 1
    if target.kind == "port" and options.allow:
        raise ConfigError("--allow cannot be kept for a raw port: whoever may connect by the tailnet's policy does")
    admission(options.allow or None)  # names without sense are an error before anybody joins
    try:
        with joined(options, name=target.name) as node:
            events = node.events()
            start(node, target, options.listen, options.allow)
            node.reachable(timeout=options.timeout)
            console.show(url(node, options.listen))
            console.show(*node.addresses)
            wait(events)
    except Terminated:
        return 0
    return 1


def wait(events: Iterable[Event]) -> None:
    """Until the node or what it serves has ended by itself, of which the log tells. Raises control's refusal."""
    for event in events:
        if isinstance(event, Problem) and event.fatal:
            raise event.error
        if isinstance(event, ServiceEnded):
            return


def start(node: Server, target: Target, port: int, allow: list[str]) -> None:
    if target.kind == "port":
        serving = node.forward_remote(port, target.app)
        console.say(
            f"forwarding raw TCP to {target.app}: headers pass unchecked, so the program behind must not believe "
            "Tailscale-* or any other header that names the caller"
        )
    elif target.kind == "asgi":
        serving = node.serve_asgi(target.app, port, allow=allow or None, block=False)
    else:
        serving = node.serve_wsgi(target.app, port, allow=allow or None, block=False)
    console.say(f"serving on {serving.address}")
    if node.prefs.shields_up:
        console.say(
            "warning: nobody can connect to it: shields are up, as the node's state says, until a program lowers them "
            "with the library's `Server.set`"
        )


def url(node: Server, port: int) -> str:
    return node.url if port == 80 else f"http://{node.name}:{port}/"
