from __future__ import annotations

import errno
import os
import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

from tests.house import House
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachinePrivateKey
from tsnet.config import Config, configure
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.preconnect import Preconnect, Preconnects
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.run.opening import CONNECTIONS, Options, as_error, open_pump, open_store, preconnect
from tsnet.engine.facts import Fact
from tsnet.engine.identity import Identity, new_identity
from tsnet.engine.saved import (
    CONTROL_KEY,
    IDENTITY,
    PREFS,
    UDP_PORT,
    WHEREABOUTS,
    KnownControl,
    decode_identity,
    encode_control,
    encode_identity,
    encode_port,
    encode_prefs,
    encode_whereabouts,
)
from tsnet.errors import AddressInUse, ConfigError, NotUp, StateError, StateInUse, StateLocked
from tsnet.prefs import Prefs
from tsnet.testing.simulated import SimulatedWorld
from tsnet.testing.tailnet import Tailnet

URL = "https://control.test"
KEY = machine_public(MachinePrivateKey(bytes(range(32))))


def config(**options: Any) -> Config:
    return configure(environ={}, **{"control_url": URL, **options})


class Counting(MemoryStore):
    """opened: how often it is open now."""

    def __init__(self, values: dict[str, bytes] | None = None) -> None:
        super().__init__(values)
        self.opened = self.written = 0

    def open(self) -> None:
        self.opened += 1

    def write(self, key: str, value: bytes) -> None:
        self.written += 1
        super().write(key, value)

    def close(self) -> None:
        self.opened -= 1


class FakeOwner:
    def on_facts(self, found: list[Fact]) -> None: ...

    def crashed(self, error: Exception) -> None: ...

    def wake(self) -> None: ...


def entropy(size: int) -> bytes:
    return random.Random(1).randbytes(size)


# --- what is kept -----------------------------------------------------------------------------------------------


def test_a_new_identity_is_at_rest_before_anybody_hears_of_it() -> None:
    store = Counting()
    kept = open_store(store, config(), os.urandom)
    assert decode_identity(store.values[IDENTITY]) == kept.identity
    assert kept.identity.control_url == URL
    assert kept.control_key is None
    again = open_store(store, config(), os.urandom)
    assert again.identity == kept.identity
    assert (store.opened, store.written) == (2, 1)  # nothing new, nothing written


def test_another_control_server_enrols_the_node_anew_with_its_keys() -> None:
    known = attrs.evolve(new_identity(os.urandom), control_url=URL, registered=True, stable_id="n1", ephemeral=False)
    store = Counting({IDENTITY: encode_identity(known), CONTROL_KEY: encode_control(KnownControl(URL, KEY))})
    assert open_store(store, config(), os.urandom).control_key == KEY
    other = open_store(store, config(control_url="https://other.test"), os.urandom)
    assert (other.identity.registered, other.identity.stable_id, other.control_key) == (False, "", None)
    assert other.identity.node_key == known.node_key
    assert other.identity.machine_key == known.machine_key


def test_saved_preferences_are_read_and_not_written() -> None:
    store = Counting({PREFS: encode_prefs({"hostname": "shop", "later": 1})})
    kept = open_store(store, config(), os.urandom)
    assert (kept.prefs, store.written) == ({"hostname": "shop", "later": 1}, 1)  # the identity
    assert open_store(Counting(), config(), os.urandom).prefs == {}


@pytest.mark.parametrize("broken", [IDENTITY, CONTROL_KEY, PREFS])
def test_what_cannot_be_read_is_an_error_and_the_store_is_closed(broken: str) -> None:
    store = Counting({IDENTITY: encode_identity(new_identity(os.urandom)), broken: b"{"})
    with pytest.raises(StateError, match=broken):
        open_store(store, config(), os.urandom)
    assert (store.opened, store.values[broken]) == (0, b"{")


def test_a_lasting_node_is_not_made_ephemeral() -> None:
    known = attrs.evolve(new_identity(os.urandom), control_url=URL, registered=True, ephemeral=False)
    store = Counting({IDENTITY: encode_identity(known)})
    with pytest.raises(ConfigError, match="ephemeral"):
        open_store(store, config(ephemeral=True), os.urandom)
    assert store.opened == 0


def test_the_identity_is_claimed_before_anything_is_written() -> None:
    """One that is taken is left as it is, and so is the store."""
    known = attrs.evolve(new_identity(os.urandom), control_url="https://other.test")
    store, claimed = Counting({IDENTITY: encode_identity(known)}), list[str]()

    def refuse(identity: Identity, place: str) -> None:
        assert (identity.machine_key, store.written) == (known.machine_key, 0)
        claimed.append(place)
        raise StateInUse("taken", 7)

    with pytest.raises(StateInUse, match="taken"):
        open_store(store, config(), os.urandom, refuse)
    assert (claimed, store.opened, store.written) == (["the Counting"], 0, 0)


def test_where_a_directory_was_used_last_is_compared(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    first = open_store(store, config(), os.urandom)
    assert (first.moved, first.note is not None) == ("", True)
    assert first.note is not None
    store.write(WHEREABOUTS, encode_whereabouts(first.note))
    store.close()
    again = open_store(store, config(), os.urandom)
    assert (again.moved, again.note) == ("", None)
    store.write(WHEREABOUTS, encode_whereabouts(attrs.evolve(first.note, directory=1)))
    store.close()
    moved = open_store(store, config(), os.urandom)
    assert ("in another directory" in moved.moved, moved.note) == (True, first.note)
    store.close()
    (tmp_path / "tsnet.state").unlink()
    assert open_store(store, config(), os.urandom).moved == ""  # a new machine
    store.close()


class Remote(Counting):
    def read(self, key: str) -> bytes | None:
        raise ConnectionRefusedError(111, "refused by redis://user:secret@db")


class Wrong(Counting):
    def open(self) -> None:
        raise KeyError("secret")


@pytest.mark.parametrize("store", [Remote(), Wrong()])
def test_what_an_applications_store_raises_is_a_state_error_without_secrets(store: Counting) -> None:
    with pytest.raises(StateError) as raised:
        open_store(store, config(), os.urandom)
    assert type(store).__name__ in str(raised.value)
    assert raised.value.__suppress_context__
    assert "secret" not in str(raised.value)


# --- ports ------------------------------------------------------------------------------------------------------


class World(SimulatedWorld):
    """A machine that counts what is open on it, and fails where it is told to."""

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        super().__init__()
        self.fails, self.error = fails, error
        self.open_ports: list[Any] = []

    def _made(self, what: str, port: Any) -> Any:
        self.open_ports.append(port)
        close = port.close

        def count() -> None:
            self.open_ports.remove(port)
            close()

        port.close = count
        return port

    def open_udp(self, *args: Any, **options: Any) -> Any:
        if self.fails == "udp" and self.error is not None:
            raise self.error
        return self._made("udp", super().open_udp(*args, **options))

    def open_links(self, *args: Any, **options: Any) -> Any:
        if self.fails == "links" and self.error is not None:
            raise self.error
        return self._made("links", super().open_links(*args, **options))

    def entropy(self, size: int) -> bytes:
        if self.fails == "node" and self.error is not None:
            raise self.error
        return super().entropy(size)


def begin(world: World) -> Any:
    kept = open_store(MemoryStore(), config(), os.urandom)
    return open_pump(config(), Prefs("a"), kept, world, Options(), FakeOwner())


def test_both_ports_are_open_afterwards() -> None:
    world = World()
    pump = begin(world)
    assert len(world.open_ports) == 2
    pump.close()
    assert world.open_ports == []


def opened_at(world: World, saved: bytes | None, **options: Any) -> tuple[int, int]:
    """The number of the port, and the one that was chosen."""
    store = MemoryStore({} if saved is None else {UDP_PORT: saved})
    asked = config(**options)
    pump = open_pump(asked, Prefs("a"), open_store(store, asked, os.urandom), world, Options(), FakeOwner())
    pump.close()
    return pump._udp.local_port, pump._chosen_port


def test_the_last_udp_port_is_taken_again_unless_another_is_configured() -> None:
    last = encode_port(41641)
    assert opened_at(World(), last) == (41641, 41641)
    assert opened_at(World(), last, port=7000) == (7000, 7000)
    assert opened_at(World(), None)[1] == 0
    assert opened_at(World(), encode_port(0))[1] == 0


def test_a_last_port_that_is_taken_or_damaged_gives_way_to_any() -> None:
    world = World()
    world.open_udp(41641, lambda: None)
    number, chosen = opened_at(world, encode_port(41641))
    assert (number != 41641, chosen) == (True, 0)
    assert opened_at(World(), b"{")[1] == 0


def test_the_key_log_of_the_environment_is_opened_and_given_to_the_device(tmp_path: Path) -> None:
    kept = open_store(MemoryStore(), config(), os.urandom)
    logging = attrs.evolve(config(), key_log_file=str(tmp_path / "keys"))
    pump = open_pump(logging, Prefs("a"), kept, World(), Options(), FakeOwner())
    assert pump.node.engine.device._local.key_log is not None
    assert (tmp_path / "keys").exists()
    pump.close()


def test_a_node_whose_key_log_cannot_be_written_does_not_begin(tmp_path: Path) -> None:
    """`up` says why. Once it can be written, a later `up` goes on."""
    house = House()
    house._environ["WG_KEYLOGFILE"] = str(tmp_path / "missing" / "keys")
    a = house.handle("a")
    error = house.failure(a.up(10))
    assert isinstance(error, ConfigError)
    assert "WG_KEYLOGFILE" in str(error)
    (tmp_path / "missing").mkdir()
    house.finish(a.up(10))
    assert a.state == "running"


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (True, True)), ({"udp_gso": False}, (False, True)), ({"udp_gro": False}, (True, False))],
)
def test_the_kernel_joins_and_splits_datagrams_unless_told_otherwise(
    options: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    world, asked = World(), []

    def open_udp(*args: Any, gso: bool, gro: bool, **more: Any) -> Any:
        asked.append((gso, gro))
        raise RuntimeError("that is all")

    world.open_udp = open_udp  # type: ignore[method-assign]
    kept = open_store(MemoryStore(), config(), os.urandom)
    with pytest.raises(RuntimeError, match="that is all"):
        open_pump(attrs.evolve(config(), **options), Prefs("a"), kept, world, Options(), FakeOwner())
    assert asked == [expected]


@pytest.mark.parametrize("fails", ["udp", "links", "node"])
def test_whatever_fails_nothing_stays_open(fails: str) -> None:
    world = World(fails, RuntimeError("no"))
    with pytest.raises(RuntimeError):
        begin(world)
    assert world.open_ports == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EADDRINUSE, "in use"), AddressInUse),
        (OSError(errno.EACCES, "privileged"), AddressInUse),
        (OSError(errno.EMFILE, "too many open files"), NotUp),
        (ConfigError("proxy="), ConfigError),
        (ValueError("a bug"), NotUp),
    ],
)
def test_every_failure_is_an_error_that_an_application_can_catch(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises((OSError, ValueError, ConfigError)) as raised:
        begin(World("udp", error))
    assert type(as_error(raised.value)) is expected


def test_a_node_whose_beginning_fails_says_so_and_begins_later() -> None:
    """The same handle, through `up`."""
    house = House()
    a = house.handle("a")
    machine = house.world.machine("a")
    open_links = machine.open_links
    machine.open_links = lambda *_, **__: 1 / 0  # type: ignore[assignment, method-assign]
    error = house.failure(a.up(10))
    assert isinstance(error, NotUp)
    assert "ZeroDivisionError" in str(error)
    assert a.state == "failed"
    assert house.host.users == 1
    machine.open_links = open_links  # type: ignore[method-assign]
    house.finish(a.up(10))
    assert a.state == "running"


# --- connections that are begun before -------------------------------------------------------------------------


class Asked(SimulatedWorld):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[object] = []

    def preconnect(self, hosts: tuple[str, ...], port: int, count: int) -> Callable[[], None]:
        self.asked.append((*hosts, port, count))
        return lambda: self.asked.append("given up")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("control.test", 443, CONNECTIONS)]),
        ({"control_url": "http://127.0.0.1:8080"}, [("127.0.0.1", 8080, CONNECTIONS)]),
        ({"proxy": "http://user:secret@proxy.test:3128"}, [("proxy.test", 3128, CONNECTIONS)]),
    ],
)
def test_connections_to_control_are_begun_where_its_links_will_go(
    options: dict[str, Any], expected: list[object]
) -> None:
    world = Asked()
    give_up = preconnect(world, config(**options))
    assert world.asked == expected
    give_up()
    assert world.asked == [*expected, "given up"]


def test_a_node_that_cannot_begin_gives_up_its_connections(tmp_path: Path) -> None:
    """Its loop ends with it, and would ring no timer."""
    from tsnet import Server

    holder = DirectoryStore(tmp_path)
    holder.open()
    with socket.create_server(("127.0.0.1", 0)) as control:
        control.settimeout(20)
        url = f"http://127.0.0.1:{control.getsockname()[1]}"
        with pytest.raises(StateLocked):
            Server("a", control_url=url, auth_key="tskey-auth-none", state=tmp_path).up()
        for _ in range(CONNECTIONS):
            accepted, _address = control.accept()
            with accepted:
                accepted.settimeout(20)
                assert accepted.recv(10) == b""
    holder.close()


@pytest.mark.slow
def test_a_node_that_joins_uses_them_all(tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch) -> None:
    from tsnet import Server

    port = urlsplit(tailnet.control_url).port
    claim, claimed = Preconnects.claim, list[bool]()

    def noted(self: Preconnects, hosts: tuple[str, ...], number: int) -> Preconnect | None:
        found = claim(self, hosts, number)
        if number == port:
            claimed.append(found is not None)
        return found

    monkeypatch.setattr(Preconnects, "claim", noted)
    with Server("a", control_url=tailnet.control_url, auth_key=tailnet.auth_key, ephemeral=True) as node:
        node.up()
    assert claimed[:CONNECTIONS] == [True] * CONNECTIONS


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifies", [True, False])
def test_control_is_told_whether_certificates_say_who_it_is(verifies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verifies:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kept = open_store(MemoryStore(), config(), os.urandom)
    pump = open_pump(config(), Prefs("a"), kept, SimulatedWorld(), Options(ssl_context=context), FakeOwner())
    assert pump.node.control._server_key.verified is verifies
