"""The command line: the commands, their options, and their exit codes.

    argv ─> parser ─> the command's module, imported now ─> exit code

Each command is a module of this folder with `run(options) -> int`. The arguments of all commands are here, so that
`--help` and a typing error import no command.

Source: the names follow Go's `tailscale` command where it has the same.
Not here: the options of a node (`joining`), what is printed where (`console`).
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from tsnet.cli.signals import Terminated, insisting, raising_terminated

Adder = Callable[[argparse.ArgumentParser], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    try:
        with insisting():
            return _main(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # it may come while modules are still imported
        return 130


def _main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    from tsnet.cli import console
    from tsnet.errors import ConfigError, Error

    console.begin(options.command, verbose=options.verbose)
    try:
        with raising_terminated():
            code: int = importlib.import_module(f"tsnet.cli.{options.command}").run(options)
            sys.stdout.flush()
            return code
    except Terminated as end:
        return end.exit_code
    except BrokenPipeError:  # the reader of our stdout has gone; nothing must be flushed to it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigError as error:
        console.fail(error)
        return 2
    except (Error, OSError) as error:
        console.fail(error)
        return 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options. All that follows `run … --` belongs to the command that is run."""
    ours, argv = list(arguments), list[str]()
    if next((word for word in ours if not word.startswith("-")), "") == "run" and "--" in ours:
        border = ours.index("--")
        ours, argv = ours[:border], ours[border + 1 :]
    options, unknown = parser().parse_known_args(ours)
    if options.command == "run" and not argv:
        options.parser.error(_without_border(unknown))
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.argv = argv
    return options


def _without_border(unknown: list[str]) -> str:
    """What to say of a `tsnet run` without --. unknown: what is no option of it; the command, probably."""
    example = shlex.join(unknown) if unknown and not unknown[0].startswith("-") else "COMMAND"
    return f"the command to run stands after --: tsnet run -- {example}"


def parser() -> argparse.ArgumentParser:
    """The parser of the whole line. Its result has that of the command as `parser`, which knows the command's usage."""
    from tsnet import __version__

    top = argparse.ArgumentParser(
        prog="tsnet", description="A tailnet node in one command: no daemon, no root.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"tsnet {__version__}")
    _verbose(top, default=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (add, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        _verbose(command, default=argparse.SUPPRESS)  # what stands before the command's name holds
        command.set_defaults(parser=command)
        add(command)
    return top


def _verbose(parser: argparse.ArgumentParser, *, default: object) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=default, help="tell on stderr what the node decides, and why"
    )


# --- the commands -----------------------------------------------------------------------------------------------


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "target", metavar="MODULE:APP|FOLDER|PORT", help="a WSGI or ASGI app, a folder of files, or a local TCP port"
    )
    command.add_argument("--listen", type=_port, default=80, metavar="N", help="the tailnet port (default 80)")
    command.add_argument(
        "--allow", action="append", default=[], metavar="WHO", help="a login or tag that gets in; others do not"
    )
    add_node(command, serves=True)


def _nc(command: argparse.ArgumentParser) -> None:
    command.add_argument("host", metavar="HOST", help="a name or address of the tailnet")
    command.add_argument("port", type=_port, metavar="PORT")
    add_node(command)


def _curl(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", metavar="URL", help="http://HOST/…; a bare HOST will do")
    command.add_argument("-X", "--request", metavar="METHOD", help="default GET, or POST with --data")
    command.add_argument("-H", "--header", action="append", default=[], metavar="NAME: VALUE")
    command.add_argument("-d", "--data", metavar="TEXT", help="the request's body; @FILE reads one, @- stdin")
    command.add_argument("-L", "--location", action="store_true", help="follow redirects")
    command.add_argument("-k", "--insecure", action="store_true", help="accept any certificate of the service")
    add_node(command)


def _run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-L",
        "--forward",
        action="append",
        default=[],
        metavar="PORT:HOST:PORT",
        help="forward a local port (0: a free one) to the tailnet; the command finds it in TSNET_FORWARD_HOST_PORT",
    )
    command.usage = "%(prog)s [OPTION ...] -- COMMAND [ARGUMENT ...]"
    command.epilog = "The command to run stands after --:  tsnet run -L 8000:staging:80 -- pytest"
    add_node(command)


def _ping(command: argparse.ArgumentParser) -> None:
    command.add_argument("host", metavar="HOST", help="a name or address of the tailnet")
    command.add_argument("-c", "--count", type=_count, default=3, metavar="N", help="default 3")
    tsmp, disco = (
        "ask the peer's data path instead of its stack",
        "ask by every path at once, and tell which answers first",
    )
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--tsmp", dest="kind", action="store_const", const="tsmp", default="icmp", help=tsmp)
    kind.add_argument("--disco", dest="kind", action="store_const", const="disco", help=disco)
    add_node(command)


def _status(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_node(command)


def _netcheck(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_node(command)


def _explain(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", metavar="HOST[:PORT]", help="what a dial is to reach")
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_node(command, seconds=30, to="for all of it")


def _debug(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", choices=("netmap", "filter", "derp", "paths", "timers"), help="what to look at")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.add_argument(
        "--ping", action="append", default=[], metavar="HOST", help="first ask how that node is reached; repeatable"
    )
    command.add_argument(
        "--check", nargs=2, metavar=("WHO", "[ADDRESS]:PORT"), help="with filter: whether WHO would be let in there"
    )
    add_node(command)


def _state(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", choices=("import", "show"), help="take over a Go node's state; or show ours")
    command.add_argument("file", metavar="FILE", nargs="?", help="with import: a tailscaled.state, or its folder")
    command.add_argument("--profile", metavar="WHO", help="with import: a login or profile id, if not the current one")
    command.add_argument("--state-dir", metavar="DIR", help="our state; default where a node of that name has it")
    command.add_argument("--hostname", metavar="NAME", help="the node's name (TS_HOSTNAME; with import, Go's)")


def _login(command: argparse.ArgumentParser) -> None:
    command.add_argument("--force", action="store_true", help="give a node that is logged in a new key all the same")
    add_node(command, keeps=True, seconds=300, to="for the person or the key")


def _logout(command: argparse.ArgumentParser) -> None:
    add_node(command, keeps=True, seconds=30, to="for control to confirm it")


def _tailnet(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="the first line is a JSON object: how to join")
    command.add_argument(
        "--state-dir", metavar="DIR", help="keep it there: a restart is the same tailnet, and its nodes come back"
    )
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    command.add_argument(
        "--port", type=_any_port, default=0, metavar="N", help="control's TCP port (default: last time's, else free)"
    )
    command.add_argument("--regions", type=int, default=None, metavar="N", help="how many relay regions (default: 1)")
    command.add_argument("--derp-port", type=_any_port, default=0, metavar="N", help="the relay's TCP port")
    command.add_argument("--stun-port", type=_any_port, default=0, metavar="N", help="STUN's UDP port")
    command.add_argument("--domain", default="tailnet.test", help="MagicDNS domain (default tailnet.test)")
    command.add_argument("--user", default="you@tailnet.test", metavar="LOGIN", help="who owns the nodes")
    command.add_argument("--plain", action="store_true", help="the relay speaks plain HTTP (TS_DEBUG_USE_DERP_HTTP=1)")


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--keep", action="store_true", help="stay up, and say how to join")


def add_node(
    command: argparse.ArgumentParser,
    *,
    serves: bool = False,
    keeps: bool = False,
    seconds: int = 60,
    to: str = "to join in",
) -> None:
    """The options of a command that joins a tailnet. serves: others are to connect to it. keeps: it is about a state,
    so that no node of it is ephemeral. seconds, to: its --timeout, and what for."""
    node = command.add_argument_group("the node")
    node.add_argument("--hostname", metavar="NAME", help="its name on the tailnet (TS_HOSTNAME)")
    node.add_argument("--control-url", metavar="URL", help="a Headscale, say; default Tailscale (TS_CONTROL_URL)")
    node.add_argument(
        "--auth-key", metavar="KEY", help="file:PATH, or - for a line of stdin; better TS_AUTHKEY than the key itself"
    )
    node.add_argument(
        "--client-secret", metavar="KEY", help="an OAuth client's, as --auth-key takes a key (TS_CLIENT_SECRET)"
    )
    node.add_argument("--client-id", metavar="ID", help="a workload identity's (TS_CLIENT_ID)")
    node.add_argument("--id-token", metavar="TOKEN", help="for it: file:PATH, read anew each time, or - (TS_ID_TOKEN)")
    node.add_argument("--audience", metavar="NAME", help="for it: what this machine's ID token is for (TS_AUDIENCE)")
    node.add_argument("--state-dir", metavar="DIR", help="where it keeps its identity; made with mode 0700")
    if keeps:
        command.set_defaults(ephemeral=False)
    else:
        node.add_argument("--ephemeral", action="store_true", help="it leaves the tailnet when it ends")
    node.add_argument("--tag", action="append", default=[], metavar="tag:NAME", help="a tag to ask for")
    node.add_argument("--allow-http", action="store_true", help="accept a plain http control URL to a public host")
    node.add_argument("--control-key", metavar="KEY", help="control's public key (mkey:…), to trust no other")
    node.add_argument("--ca-file", metavar="PATH", help="PEM certificates to trust as well, for control and relays")
    if serves:
        command.set_defaults(shields_up=False)
    else:
        node.add_argument("--shields-up", action="store_true", help="nobody can connect to it, or ping it")
    node.add_argument("--proxy", metavar="URL", help="http://HOST:PORT, for control and relays")
    node.add_argument("--timeout", type=float, default=seconds, metavar="SECONDS", help=f"{to} (default {seconds})")


COMMANDS: dict[str, tuple[Adder, str]] = {
    "serve": (_serve, "serve an app, a folder or a local port on the tailnet"),
    "run": (_run, "run a command with local ports forwarded to the tailnet"),
    "nc": (_nc, "connect stdin and stdout to a port of the tailnet"),
    "curl": (_curl, "fetch a URL of the tailnet"),
    "ping": (_ping, "measure the way to a node"),
    "status": (_status, "list the nodes of the tailnet"),
    "netcheck": (_netcheck, "look at the network around this machine: UDP, NAT, the nearest relay"),
    "explain": (_explain, "tell what a connection to a node would meet, and why it fails or is relayed"),
    "debug": (_debug, "look into a node: its netmap, filter, relays, paths and timers"),
    "login": (_login, "log a node in whose state is kept, by an auth key or a person"),
    "logout": (_logout, "have control forget a node whose state is kept"),
    "state": (_state, "import the state of Tailscale's own client, or show a node's"),
    "tailnet": (_tailnet, "run a tailnet of your own on this machine"),
    "demo": (_demo, "show two nodes talk on a tailnet in this process"),
}


def _port(text: str) -> int:
    port = _any_port(text)
    if not port:
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return port


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"a count is a number from 1 on, not {text!r}")
    return int(text)


def _any_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number up to 65535, not {text!r}")
    return int(text)
