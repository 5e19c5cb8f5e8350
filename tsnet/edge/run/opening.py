"""How a node begins: its saved state is read, its ports are opened. Afterwards all of it is there, or nothing is.

Not here: when a node begins (`handle`), what the saved bytes mean (`engine.saved`), where they rest (`io.place`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from tsnet.base.records import record
from tsnet.base.wording import Wording, api
from tsnet.config import Config
from tsnet.edge.io.copying import described
from tsnet.edge.io.descriptors import is_out
from tsnet.edge.io.keylogfile import KeyLogFile
from tsnet.edge.io.log import log
from tsnet.edge.io.place import load
from tsnet.edge.io.private import kind_of, reason_of
from tsnet.edge.io.store import Store
from tsnet.edge.io.tracing import Traces
from tsnet.edge.io.whereabouts import how_moved, last_whereabouts, machine_mark, whereabouts_of
from tsnet.edge.io.world import UdpPort, World
from tsnet.edge.run.pump import Pump
from tsnet.engine.identity import Identity, check_ephemeral, for_control, new_identity
from tsnet.engine.saved import (
    CONTROL_KEY,
    HOME_RELAY,
    IDENTITY,
    NETMAP,
    PREFS,
    UDP_PORT,
    Whereabouts,
    decode_control,
    decode_identity,
    decode_port,
    decode_prefs,
    encode_identity,
)
from tsnet.errors import AddressInUse, Error, NotUp, StateError
from tsnet.prefs import Prefs

if TYPE_CHECKING:
    import ssl

    from tsnet.base.keys import MachineKey
    from tsnet.engine.facts import Fact


@record
class Options:
    """What of a server's options concerns the edge alone.

    on_login_url: called in the node's thread, must not block; whether somebody will see to that URL.
    """

    ssl_context: ssl.SSLContext | None = None
    on_login_url: Callable[[str], bool] | None = None
    hostinfo: dict[str, Any] = attrs.field(factory=dict)


@record
class Kept:
    """What the store holds of a node.

    control_key: of the control server that is configured, if it is known. prefs: for `Choices.saved`.
    udp_port: the last one; 0 if it is not known. netmap: as it was kept, for a start without control; or empty.
    home_relay: as it was kept; or empty.
    moved: how, if the state was used elsewhere last. note: what is to be written of where it is now, if that is not
    there yet.
    """

    identity: Identity
    control_key: MachineKey | None = None
    prefs: Mapping[str, Any] = attrs.field(factory=dict)
    udp_port: int = 0
    netmap: bytes = attrs.field(default=b"", repr=False)
    home_relay: bytes = attrs.field(default=b"", repr=False)
    moved: str = ""
    note: Whereabouts | None = None


CONNECTIONS = 2
"""A node that begins opens one to ask for control's key, and one to speak to it."""


class PumpOwner(Protocol):
    """Who runs a pump."""

    def on_facts(self, found: list[Fact]) -> None: ...

    def crashed(self, error: Exception) -> None: ...

    def wake(self) -> None: ...


def open_store(
    store: Store,
    config: Config,
    entropy: Callable[[int], bytes],
    claim: Callable[[Identity, str], object] | None = None,
) -> Kept:
    """Open the store and read it; a new identity is written before anybody hears of it. It is closed again on error.

    claim: is asked before anything is written, and raises if another node has the identity that was kept at a place.
    Blocks as long as the store does. Raises StateError, StateLocked, ConfigError. Whatever else an application's store
    raises becomes a StateError without its text, which may hold a secret.
    """
    try:
        return _open_kept(store, config, entropy, claim)
    except Error:
        raise
    except Exception as error:
        raise StateError(f"the {type(store).__name__} that keeps this node's state failed: {kind_of(error)}") from None


def _open_kept(
    store: Store, config: Config, entropy: Callable[[int], bytes], claim: Callable[[Identity, str], object] | None
) -> Kept:
    store.open()
    try:
        kept = load(store, IDENTITY, decode_identity)
        identity = for_control(kept or new_identity(entropy), config.control_url)
        if claim is not None:
            claim(identity, described(store))
        identity = attrs.evolve(identity, ephemeral=check_ephemeral(identity, config.ephemeral))
        if identity != kept:
            store.write(IDENTITY, encode_identity(identity))
        known = load(store, CONTROL_KEY, decode_control)
        is_the_same = known is not None and known.control_url == config.control_url
        prefs = load(store, PREFS, decode_prefs, without="to go on with the default preferences")
        control_key = known.key if known is not None and is_the_same else None
        before, here = last_whereabouts(store), whereabouts_of(store, machine_mark(os.environ))
        moved, note = how_moved(before, here) if kept is not None else "", here if here != before else None
        netmap, home_relay = _kept_bytes(store, NETMAP), _kept_bytes(store, HOME_RELAY)
        return Kept(identity, control_key, prefs or {}, _last_port(store), netmap, home_relay, moved, note)
    except BaseException:
        with contextlib.suppress(Exception):
            store.close()
        raise


def _last_port(store: Store) -> int:
    """A damaged one keeps no node from beginning: it takes another."""
    with contextlib.suppress(StateError):
        return load(store, UDP_PORT, decode_port) or 0
    return 0


def _kept_bytes(store: Store, key: str) -> bytes:
    """What cannot be read keeps no node from beginning: control has another."""
    try:
        value = store.read(key)
    except Exception:  # whatever an application's store raises
        return b""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


def preconnect(world: World, config: Config) -> Callable[[], None]:
    """Begin the connections to control that a node begins with, so that they are made while it is (`load_engine`).

    Returns what gives up those that the node has not taken.
    """
    from tsnet.control.client.address import ControlAddress  # only a node that begins needs it

    control = ControlAddress.parse(config.control_url)
    hosts, port = (control.host,), control.port
    proxy = config.proxies.proxy_for(control.host, port, secure=control.secure)
    if proxy is not None:
        hosts, port = (proxy.host,), proxy.port
    return world.preconnect(hosts, port, CONNECTIONS)


def load_engine() -> None:
    """Import the node with all its rooms: in a worker, as it takes a tenth of a second, and the loop has links to
    serve."""
    import tsnet.engine.node  # noqa: F401


def open_pump(config: Config, prefs: Prefs, kept: Kept, world: World, options: Options, owner: PumpOwner) -> Pump:
    """A node and its ports, to be turned from now on. Raises Error or OSError, and nothing stays open then."""
    from tsnet.engine.node import Node  # with all its rooms: only a node that begins needs them

    pump: Pump | None = None

    def mark() -> None:
        if pump is not None:
            pump.mark()

    key_log = KeyLogFile(config.key_log_file, world.clock).write if config.key_log_file else None
    udp, chosen = _open_udp(world, config, kept.udp_port, mark)
    try:
        links = world.open_links(mark, ssl_context=options.ssl_context, proxies=config.proxies)
        try:
            traces = Traces(prefs.hostname, world.clock)
            node = Node(
                attrs.evolve(config, ephemeral=kept.identity.ephemeral is True),
                prefs,
                kept.identity,
                entropy=world.entropy,
                now=world.clock(),
                wall=world.wall(),
                hostinfo=options.hostinfo,
                control_key=kept.control_key,
                last_port=kept.udp_port,
                kept_netmap=kept.netmap,
                kept_home=kept.home_relay,
                verifies_tls=verifies(options.ssl_context),
                tracer=traces,
                key_log=key_log,
            )
            traces.peer_name = node.peer_name
            pump = Pump(node, world, owner.on_facts, owner.wake, udp, links, owner.crashed, chosen)
        except BaseException:
            links.close()
            raise
    except BaseException:
        udp.close()
        raise
    return pump


def _open_udp(world: World, config: Config, last: int, mark: Callable[[], None]) -> tuple[UdpPort, int]:
    """The port, and its number if that was chosen, 0 if it is any: the one that is configured, or else the last one if
    it is free."""
    open_port = functools.partial(world.open_udp, gso=config.udp_gso, gro=config.udp_gro)
    if last and not config.port:
        with contextlib.suppress(OSError):  # another program has it now, or for want of a descriptor
            return open_port(last, mark), last
    try:
        return open_port(config.port, mark), config.port
    except OSError as error:
        if is_out(error):
            raise
        what = f"cannot bind UDP port {config.port}: {error}; choose another "
        raise AddressInUse(Wording(what, api("port="), " or 0")) from None


def verifies(context: ssl.SSLContext | None) -> bool:
    """Whether a certificate that a context accepts says who the server is."""
    if context is None:
        return True
    import ssl

    return context.verify_mode == ssl.CERT_REQUIRED


def as_error(error: Exception) -> Error:
    """The failure of a node's beginning as its application is told of it."""
    if isinstance(error, Error):
        return error
    if isinstance(error, OSError) and is_out(error):
        return NotUp(f"the node cannot begin: {reason_of(error)}; close something, or raise the limit (ulimit -n)")
    log.say(logging.ERROR, "a node could not begin", traceback=error)
    return NotUp(f"the node could not begin by an internal error, please report it: {error!r}")
