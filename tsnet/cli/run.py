"""`tsnet run [-L PORT:HOST:PORT] -- COMMAND`: a command with ports of the tailnet at hand; a CI job, say.

    join ─> local ports ─> the child, signals passed on ─> its exit code ─> the node logs out

The child finds each forward in its environment: TSNET_FORWARD_DB_5432=127.0.0.1:40123. Exit codes as a shell's: 127 no
such command, 126 it cannot be run, 128 + N killed by signal N.
"""

from __future__ import annotations

import os
import signal
import subprocess
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import attrs

from tsnet.base.addresses import parse_port
from tsnet.cli import console
from tsnet.cli.joining import forward_name, joined
from tsnet.errors import ConfigError

PASSED_ON = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
    if hasattr(signal, name)
)
FROM_THE_TERMINAL = ("SIGINT", "SIGQUIT", "SIGWINCH")
NOT_FOUND, NOT_RUNNABLE = 127, 126


@attrs.frozen
class Forward:
    """local: a port of 127.0.0.1, "host:port", or the path of a Unix socket."""

    local: int | str
    host: str
    port: int


def run(options: Namespace) -> int:
    forwards = [parse_forward(text) for text in options.forward]
    with joined(options, passing=True) as node:
        environ = dict(os.environ)
        for forward in forwards:
            serving = node.forward_local(forward.host, forward.port, local=forward.local)
            console.say(f"forwarding {serving.address} to {forward.host}:{forward.port}")
            environ[forward_name(forward.host, forward.port)] = serving.address
        return run_child(options.argv, environ)


def parse_forward(text: str) -> Forward:
    """[ADDRESS:]PORT:HOST:PORT or /PATH:HOST:PORT; a v6 address stands in brackets."""
    rest, _, port = text.rpartition(":")
    if rest.endswith("]"):
        local, _, host = rest[:-1].rpartition(":[")
    else:
        local, _, host = rest.rpartition(":")
    if not local or not host or not _is_port(port) or port == "0":
        raise ConfigError(f"-L takes PORT:HOST:PORT, such as 8000:staging:80, not {text!r}")
    if _is_port(local):
        return Forward(int(local), host, int(port))
    if "/" not in local and not (":" in local and _is_port(local.rpartition(":")[2])):
        raise ConfigError(f"-L {text}: {local!r} is no local port, address:port, or path")
    return Forward(local, host, int(port))


def _is_port(text: str) -> bool:
    return parse_port(text) is not None


def run_child(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run it to its end. A signal that comes before it has started waits for it."""
    child: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if not child:
            early.append(number)
        elif not (signal.Signals(number).name in FROM_THE_TERMINAL and _shares_terminal()):
            child[0].send_signal(number)

    with _handling(pass_on):
        try:
            child.append(subprocess.Popen(argv, env=environ))
        except OSError as error:
            console.say(f"cannot run {argv[0]}: {error.strerror}")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
        for number in early:
            child[0].send_signal(number)
        code = child[0].wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _handling(handler: object) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in PASSED_ON}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _shares_terminal() -> bool:
    """Whether the terminal sends its signals to us and the child alike."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
