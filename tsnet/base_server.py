"""BaseServer: what a node's two faces share, the options and the immediate answers.

`AsyncServer` and `Server` add the methods that wait.

Source: Go tsnet/tsnet.go Server.
Not here: what an option means and where it may come from (`config`, `prefs`), where the state is kept
(`edge.io.place`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from tsnet.adapters.services import Services
from tsnet.base.addresses import IPAddress, join_host_port, parse_address
from tsnet.base.wording import Wording, api
from tsnet.config import (
    Config,
    Given,
    HostLike,
    Instead,
    check_objects,
    check_types,
    clean_key,
    host_text,
    key_of_environment,
    split_address,
)
from tsnet.edge.io.hostinfo import hostinfo
from tsnet.edge.io.log import log
from tsnet.edge.io.place import State, store_for
from tsnet.edge.io.world import World
from tsnet.edge.run.handle import Handle
from tsnet.edge.run.host import Host, default_host, host_for, private_host
from tsnet.edge.run.opening import Options, verifies
from tsnet.edge.run.ownership import Ownership, weakly
from tsnet.errors import ConfigError, NotUp
from tsnet.prefs import Choices, checked, choose
from tsnet.status import Status, peers_of

if TYPE_CHECKING:
    import socket
    import ssl

    from tsnet.adapters.identity import Allow
    from tsnet.adapters.web_limits import WebLimits
    from tsnet.adapters.wsgi import App as WsgiApp
    from tsnet.adapters.wsgi import WsgiServer
    from tsnet.edge.pipes.listening import ListenPipe
    from tsnet.edge.pipes.packets import PacketPipe
    from tsnet.edge.pipes.pipes import Pipe
    from tsnet.engine.explanation import Explanation
    from tsnet.errors import RemoteError
    from tsnet.netmap.model import Node
    from tsnet.netmap.whois import Peer
    from tsnet.prefs import PrefChanges, Prefs

OnAuthUrl = Callable[[str], object]
UP_TIMEOUT = 60.0
CLOSE_TIMEOUT = 2.0
DIAL_TIMEOUT = 30.0
SET_TIMEOUT = 10.0
LOGIN_TIMEOUT = 60.0
LOGOUT_TIMEOUT = 5.0
EXPLAIN_TIMEOUT = 30.0
ID_TOKEN_TIMEOUT = 10.0
LONGEST_CLOSE = 86_400.0
"""Seconds that a close without a time limit may take: a wait for a thread must have a limit."""


class BaseServer:
    """The options and the immediate answers of both servers. Options are fixed when the object is made, but for
    preferences, which `set` changes."""

    _may_share_a_loop = True
    """Whether the node may run in the caller's loop, or in another world. A caller that blocks cannot run that loop."""

    _needed_soon: tuple[str, ...] = ()
    """Modules that a first `dial` or `listen` imports."""

    _call_soon: Callable[[Callable[[], object]], None] | None = None
    """Runs a function in the loop that used this server last."""

    def __init__(
        self,
        hostname: str | None = None,
        *,
        auth_key: str | None = None,
        control_url: str | None = None,
        state: State = None,
        ephemeral: bool = False,
        tags: Iterable[str] = (),
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        on_auth_url: OnAuthUrl | None = None,
        allow_http: bool = False,
        control_key: str | None = None,
        shields_up: bool | None = None,
        own_thread: bool = True,
        world: World | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        audience: str | None = None,
        id_token: str | os.PathLike[str] | Callable[[], str] | None = None,
        cache_netmap: bool | None = None,
    ) -> None:
        """Checks every option. Makes no file, no socket and no thread.

        Raises ConfigError, and StateError if there is no `state` and no writable place for one.
        hostname: to ask control for, made a DNS label; default TS_HOSTNAME, what `set` has saved, the script's name.
        auth_key: how to join without a person, once; or "file:PATH". Default TS_AUTHKEY, then TS_AUTH_KEY.
        control_url: a Headscale, or an embedded tailnet; default TS_CONTROL_URL, then Tailscale.
        state: a directory or a `tsnet.Store` for the node's identity; default: the user's state directory / hostname.
        ephemeral: the node disappears from the tailnet when it closes; without `state` it is kept in memory alone.
        tags: ["tag:ci", …], which the key or the policy must allow.
        port: the local UDP port; 0 takes any.
        ssl_context: judges control's and the relays' certificates instead of the system's roots (a private CA).
        proxy: "http://host:port" for control and relays, "" for none; default HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
        on_auth_url: is called with the URL where a person logs the node in. Without it, the URL is printed if stderr is
            a terminal, with a QR code; if not, `up` raises NeedsLogin.
        allow_http: accept a control URL that is plain http to a public host.
        control_key: control's public key ("mkey:…"), to trust no other.
        shields_up: nobody can open a connection to this node, or ping it; default: what `set` has saved, then False.
        own_thread: False runs the node in the caller's loop, which must then never block.
        world: where sockets, clock and randomness come from; for tests.
        client_secret, or client_id with audience or id_token: gets an auth key when one is needed, with `tags`; default
            TS_CLIENT_SECRET, TS_CLIENT_ID, TS_AUDIENCE, TS_ID_TOKEN. id_token: text, path or function that may block.
        cache_netmap: keep the netmap in `state`, for starts while control is away; default: if control asks for it.
        """
        check_objects(ssl_context, on_auth_url, world)
        host = self._choose_host(own_thread, world)
        choices = chosen(hostname=hostname, shields_up=shields_up)
        instead = Instead(client_id, client_secret, audience, id_token, _token_source)
        given = Given(control_url, ephemeral, tags, port, proxy, allow_http, control_key, cache_netmap)
        self._config: Config = given.resolved(os.environ, _read_key(auth_key), instead)
        self._on_auth_url = on_auth_url
        store = store_for(state, choices.prefs.hostname, environ=os.environ, ephemeral=ephemeral)
        self._handle = Handle(self._config, choices, host, store, self._options(ssl_context), world)
        self._handle.soon = self._needed_soon
        self._hold = Ownership(self._handle, type(self).__name__)
        self._servings = Services(self._handle)  # Serving of a Server, AsyncServing of an AsyncServer

    def _options(self, ssl_context: ssl.SSLContext | None) -> Options:
        credential = self._config.credential
        if credential is not None and credential.base_url.startswith("https:") and not verifies(ssl_context):
            what = " verifies no certificate, so that a client secret or an ID token could go to anybody: pass "
            raise ConfigError(Wording(api("ssl_context="), what, api("auth_key="), ", or a context that verifies"))
        return Options(ssl_context=ssl_context, on_login_url=weakly(self._on_login_url), hostinfo=hostinfo())

    def _choose_host(self, own_thread: bool, world: World | None) -> Host:
        check_types(own_thread=own_thread)
        if world is None and own_thread:
            return default_host()
        if not self._may_share_a_loop:
            options = (api("own_thread=False"), " and ", api("world="))
            raise ConfigError(Wording("a blocking Server needs its own thread: ", *options, " are for AsyncServer"))
        return private_host() if world is None else host_for(world)

    def _on_login_url(self, url: str) -> bool:
        """Show the URL to a person; in the node's thread. Returns whether somebody was shown it."""
        callback = self._on_auth_url
        if callback is not None:
            self._run_callback(lambda: callback(url))
            return True
        if sys.stderr is not None and sys.stderr.isatty():
            from tsnet.edge.io.terminal import login_message

            print(login_message(self.prefs.hostname, url, sys.stderr), end="", file=sys.stderr, flush=True)
            return True
        return False

    def _login_options(self, auth_key: str | None, force: bool) -> tuple[str, bool]:
        """Those of a call of `login`. Raises ConfigError."""
        check_types(auth_key=auth_key, force=force)
        key = clean_key(_read_key(auth_key or "") or "")
        if key.startswith("tskey-client-"):
            what = " of a login takes an auth key: a client secret goes to the constructor, as "
            raise ConfigError(Wording(api("auth_key="), what, api("client_secret=")))
        return key, force

    def _run_callback(self, callback: Callable[[], object]) -> None:
        raise NotUp("a BaseServer does not run")

    # --- descriptors ----------------------------------------------------------------------------------------

    def _stream_socket(self, pipe: Pipe) -> socket.socket:
        from tsnet.sockets.attach import stream_socket

        return stream_socket(self._handle, pipe)

    def _listening_socket(self, pipe: ListenPipe) -> socket.socket:
        from tsnet.sockets.attach import listening_socket

        return listening_socket(self._handle, pipe)

    def _packet_socket(self, pipe: PacketPipe) -> socket.socket:
        from tsnet.sockets.attach import packet_socket

        return packet_socket(self._handle, pipe)

    # --- what is served -------------------------------------------------------------------------------------

    def _wsgi_server(self, app: WsgiApp, listening: socket.socket, allow: Allow, limits: WebLimits) -> WsgiServer:
        """On error the port is free again."""
        from tsnet.adapters.wsgi import WsgiServer

        try:
            return WsgiServer(app, listening, self, allow=allow, owner=self._owner, limits=limits)
        except BaseException:
            listening.close()
            raise

    def _where(self, port: int) -> str:
        address = next(iter(self.addresses), None)
        if address is None:  # the node was closed a moment ago
            return f":{port}"
        return join_host_port(str(address), port)

    def _owner(self) -> Peer | None:
        """The owner of this node; None before `up`."""
        view = self._handle.view
        return None if view is None else view.whois.peer(view.netmap.self_node.key)

    # --- immediate answers ----------------------------------------------------------------------------------

    @property
    def prefs(self) -> Prefs:
        """The preferences in force; before `up` those that it would begin with if nothing was saved."""
        return self._handle.prefs

    def _checked(self, changes: PrefChanges) -> PrefChanges:
        """Those of a call of `set`. Raises TypeError, ConfigError."""
        clean = checked(changes)
        if "hostname" in clean:
            tell_new_name(changes["hostname"], clean["hostname"])
        return clean

    @property
    def name(self) -> str:
        """The name that control granted, one label; "" before `up`. It may differ from the hostname asked for."""
        node = self._self_node()
        return "" if node is None else node.name.partition(".")[0]

    @property
    def fqdn(self) -> str:
        """The full MagicDNS name; "" before `up`."""
        node = self._self_node()
        return "" if node is None else node.name

    @property
    def url(self) -> str:
        """The URL of a web app on port 80 of this node; "" before `up`."""
        return f"http://{self.name}/" if self.name else ""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The node's tailnet addresses, v4 first; empty before `up`."""
        node = self._self_node()
        return () if node is None else node.ips

    def _self_node(self) -> Node | None:
        view = self._handle.view
        return None if view is None else view.netmap.self_node

    def whois(self, address: HostLike) -> Peer | None:
        """The owner of that tailnet address ("100.64.0.7", "100.64.0.7:1234", "[fd7a:…]:80"), or None."""
        text, view = host_text(address), self._handle.view
        ip = parse_address(text) or parse_address(split_address(text)[0])
        return None if view is None or ip is None else view.whois.peer(ip)

    def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """The addresses of a tailnet name, short or full, v4 first; empty if no node has it."""
        host_text(name)
        view = self._handle.view
        found = () if view is None else view.names.resolve(name)
        return tuple(sorted(found, key=lambda address: address.version))

    def status(self) -> Status:
        """A snapshot of this node, its peers and the paths to them, from what control has sent. Nobody is asked."""
        handle, view = self._handle, self._handle.view
        status = Status(handle.state, self.prefs.hostname, self._config.control_url, login_url=handle.login_url)
        if view is None:
            return status
        netmap, node = view.netmap, view.netmap.self_node
        peer = view.whois.peer(node.key)
        return attrs.evolve(
            status,
            name=node.name.partition(".")[0],
            fqdn=node.name,
            addresses=node.ips,
            user_login=peer.user_login if peer else "",
            tags=node.tags,
            home_region=view.home_region,
            key_expiry=node.key_expiry,
            health=view.health,
            is_stale=view.is_stale,
            peers=peers_of(netmap, view.whois, handle.path_to),
        )

    def _explained(self, target: str, error: RemoteError, begun: float) -> Explanation:
        """What `explain` says of a node that does not run. begun: when it was asked."""
        from tsnet.engine.judgement import judge_error

        return judge_error(target, error, self._handle.world.clock() - begun)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefs.hostname} {self._handle.state}>"


def chosen(**preferences: object) -> Choices:
    """What the options of that name, and this process, say of preferences. Raises ConfigError."""
    choices = choose(environ=os.environ, script=sys.argv[0] if sys.argv else "", **preferences)
    tell_new_name(choices.asked_hostname, choices.prefs.hostname)
    return choices


def tell_new_name(asked: str, label: str) -> None:
    """Somebody will look for the node by the name that was chosen, if there is one."""
    if asked and asked.lower() != label:
        log.warning("the hostname %r is no DNS label: this node asks control for %r", asked, label)


def _token_source(id_token: str | os.PathLike[str] | Callable[[], str] | None, audience: str) -> Callable[[], str]:
    from tsnet.edge.io.idtokensource import token_source  # few nodes join by an ID token

    return token_source(id_token, audience, os.environ)


def _read_key(auth_key: str | None) -> str | None:
    """The key of the option or the variables, from the file that it names, if it names one."""
    check_types(auth_key=auth_key)
    given = key_of_environment(os.environ) if auth_key is None else auth_key
    if given is None or "file:" not in given:
        return given
    from tsnet.edge.io.keyfile import key_of

    return key_of(given)
