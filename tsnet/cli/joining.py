"""A node as the options describe it: its name, its key, where its identity is kept. It joins, and leaves in order.

    serve                      keeps its identity in the user's state directory, as the library does
    nc curl ping run status
    netcheck debug             ephemeral and in memory, unless --state-dir says where to keep the identity
    --ephemeral                in memory, unless there is --state-dir
    login logout               the state that --state-dir or --hostname names

Not here: the options' names (`command`), what they mean (`tsnet.config`).
"""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tsnet.base.hostnames import sanitize_hostname
from tsnet.cli import console
from tsnet.cli.signals import undisturbed
from tsnet.edge.io.keyfile import PREFIX, key_of, one_word
from tsnet.edge.io.store import Store
from tsnet.errors import ConfigError
from tsnet.server import Server

if TYPE_CHECKING:
    import ssl

CLOSE_TIMEOUT = 5.0
"""Seconds. Headscale answers a registration after one, then the logout; a CI job that is cancelled has about seven."""


@contextmanager
def joined(options: Namespace, *, name: str = "", passing: bool = False) -> Iterator[Server]:
    """A node that is up. When the block ends, for whatever reason, it leaves within `CLOSE_TIMEOUT`.

    name: its hostname if neither the options nor TS_HOSTNAME give one. passing: it is ephemeral without --state-dir.
    """
    node = server(options, name=name, passing=passing)
    try:
        node.up(timeout=options.timeout)
        console.say(f"joined as {node.fqdn} ({', '.join(map(str, node.addresses))})")
        yield node
    finally:
        with undisturbed():
            node.close(timeout=CLOSE_TIMEOUT)


def server(
    options: Namespace,
    *,
    name: str = "",
    passing: bool = False,
    state: Store | None = None,
    on_auth_url: Callable[[str], object] | None = None,
) -> Server:
    """state: where its identity is kept, if that was chosen already. on_auth_url: as Server's."""
    ephemeral = options.ephemeral or (passing and not options.state_dir)
    return Server(
        options.hostname or os.environ.get("TS_HOSTNAME") or sanitize_hostname(name) or None,
        control_url=options.control_url,
        auth_key=auth_key(options.auth_key),
        client_id=options.client_id,
        client_secret=auth_key(options.client_secret, "--client-secret", "TS_CLIENT_SECRET", "client secret"),
        audience=options.audience,
        id_token=id_token(options.id_token),
        state=state or options.state_dir or None,
        on_auth_url=on_auth_url,
        ephemeral=ephemeral,
        tags=options.tag,
        allow_http=options.allow_http,
        control_key=options.control_key,
        shields_up=options.shields_up or None,
        proxy=options.proxy,
        ssl_context=trusting(options.ca_file),
    )


def trusting(ca_file: str | None) -> ssl.SSLContext | None:
    """The system's roots and those of the file; None without a file, for what the library does by itself."""
    if ca_file is None:
        return None
    import ssl

    from tsnet.edge.io.tls import default_context

    context = default_context()
    try:
        context.load_verify_locations(os.path.expanduser(ca_file))
    except OSError as error:  # ssl.SSLError among them: it holds no certificate
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no PEM certificate"
        raise ConfigError(f"no certificates can be read from --ca-file {ca_file}: {reason}") from None
    return context


def auth_key(
    text: str | None, option: str = "--auth-key", variable: str = "TS_AUTHKEY", what: str = "auth key"
) -> str | None:
    """The key that the option gives: in a file (file:PATH), in a line of stdin (-), or itself, with a warning."""
    if text is None:
        return None
    if text == "-":
        return one_word(_line_of_stdin(), "stdin", what)
    if text.startswith(PREFIX):
        return key_of(text, what)
    console.say(
        f"warning: every user of this machine can see {'an' if what[0] in 'aeiouI' else 'a'} {what} on the command "
        f"line; use {option} file:PATH, {option} - or {variable}"
    )
    return one_word(text, option, what)


def id_token(text: str | None) -> str | Path | None:
    """The same for an ID token; but a file is named, since its content changes while the node runs."""
    if text is not None and text.startswith("file:"):
        return Path(os.path.expanduser(text.removeprefix("file:")))
    return auth_key(text, "--id-token", "TS_ID_TOKEN", "ID token")


def _line_of_stdin() -> str:
    """A line, read byte by byte, because what follows it belongs to the command."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode("utf-8", "replace")


def forward_name(host: str, port: int) -> str:
    """The environment variable that tells a command its forward: TSNET_FORWARD_DB_5432."""
    return f"TSNET_FORWARD_{re.sub('[^A-Z0-9]+', '_', host.upper()).strip('_')}_{port}"
