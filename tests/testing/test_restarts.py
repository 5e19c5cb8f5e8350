"""`Tailnet(state=…)`: what nodes, and whoever runs the tailnet, find again after a restart of it.

On loopback, with threads and files; in virtual time where time has to pass.
"""

from __future__ import annotations

import json
import logging
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import tsnet
from tests.house import House
from tests.shelf import Shelf
from tsnet.control.server.streams import EPHEMERAL_AFTER, OFFLINE_AFTER
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.store import MemoryStore
from tsnet.errors import (
    AddressInUse,
    AuthKeyRejected,
    ConfigError,
    ControlUnreachable,
    NeedsLogin,
    StateError,
    StateLocked,
    UpTimeout,
)
from tsnet.testing import keeping
from tsnet.testing.tailnet import Tailnet

FILE = "tsnet.tailnet"


def end(house: House) -> None:
    ending = house.tailnet._end()
    assert ending is not None
    house.finish(ending)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "tailnet"


def node(tailnet: Tailnet, name: str, place: Path | None = None, **options: Any) -> tsnet.Server:
    """place: where it keeps its own state; without one it is memory's."""
    state = MemoryStore() if place is None else place / name
    settings = {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "state": state}
    return tsnet.Server(name, **{**settings, "ephemeral": place is None, **options})


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """A turn of the wheel on each miss: what it waits for comes from another thread."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come true")


def ports_of(tailnet: Tailnet) -> list[int]:
    """Of control, the relay and STUN."""
    return [tailnet._port.number, tailnet.relays[0].derp_port, tailnet.relays[0].stun_port]


def talk(server: tsnet.Server, client: tsnet.Server, port: int = 80) -> None:
    with server.listen(port) as listener, client.dial(server.name, port) as dialled:
        accepted, _ = listener.accept()
        with accepted:
            dialled.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


# --- what nodes find again --------------------------------------------------------------------------------------


def test_nodes_come_back_by_themselves_and_are_who_they_were(place: Path, tmp_path: Path) -> None:
    with Tailnet(state=place) as tailnet:
        one_off = [tailnet.create_auth_key() for _ in range(2)]
        a = node(tailnet, "a", tmp_path, auth_key=one_off[0])
        b = node(tailnet, "b", tmp_path, auth_key=one_off[1])
        a.up()
        b.up()
        nodes, url = tailnet.nodes(), tailnet.control_url
        talk(a, b)
    with Tailnet(state=place) as tailnet, a, b:
        assert (tailnet.control_url, tailnet.nodes()) == (url, nodes)
        until(lambda: tailnet.online() == {"a", "b"})
        talk(a, b)
        talk(b, a)
        assert {"a": a.addresses, "b": b.addresses} == nodes


def test_a_node_that_was_away_needs_no_key(place: Path, tmp_path: Path) -> None:
    with Tailnet(state=place) as tailnet, node(tailnet, "a", tmp_path) as a:
        addresses = a.addresses
    with Tailnet(state=place) as tailnet, node(tailnet, "a", tmp_path, auth_key=None) as a:
        assert a.addresses == addresses
        with node(tailnet, "new") as new:
            assert new.addresses[0] not in addresses
            talk(a, new)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_a_loop(backend: str, place: Path) -> None:
    async def main() -> None:
        async with Tailnet(state=place) as tailnet:
            key = await anyio.to_thread.run_sync(tailnet.create_auth_key)
        async with Tailnet(state=place) as tailnet:
            assert key in tailnet._state.auth_keys

    anyio.run(main, backend=backend)


def test_the_servers_are_who_they_were(place: Path) -> None:
    def servers() -> tuple[Any, ...]:
        with Tailnet(state=place) as tailnet:
            (relay,) = tailnet.derp_map["Regions"]["900"]["Nodes"]
            keys = tailnet._machine_key, tailnet._relays[900].private_key(), tailnet.auth_key
            return tailnet.control_url, relay, keys, certificate_at(relay["DERPPort"])

    assert servers() == servers()


def certificate_at(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as tls:
        return tls.getpeercert(binary_form=True) or b""


def test_another_address_is_another_certificate(place: Path) -> None:
    with Tailnet(state=place) as tailnet:
        before = tailnet._relays[900]._certificate
    with Tailnet(state=place, host="127.0.0.2") as tailnet:
        assert tailnet._relays[900]._certificate != before


def test_a_place_that_others_may_write_to_is_refused_by_a_tailnet_and_by_a_node(place: Path) -> None:
    with Tailnet() as tailnet:
        place.mkdir()
        place.chmod(0o777)
        with pytest.raises(StateError, match="other users may write to it"):
            Tailnet(state=place).start()
        node = tsnet.Server("a", control_url=tailnet.control_url, auth_key=tailnet.auth_key, state=place)
        with pytest.raises(StateError, match="other users may write to it"):
            node.up()
        node.close()
        assert list(place.iterdir()) == []
        assert tailnet.nodes() == {}


def test_without_a_place_each_is_a_new_one() -> None:
    with Tailnet() as one, Tailnet() as other:
        assert one._machine_key != other._machine_key
        assert one.auth_key != other.auth_key


def test_the_same_object_can_be_started_again(place: Path) -> None:
    tailnet = Tailnet(state=place)
    with tailnet:
        key = tailnet.create_auth_key()
    with tailnet:
        assert key in tailnet._state.auth_keys
        assert tailnet.create_auth_key("ann@example.com") != key


# --- what whoever runs it finds again ---------------------------------------------------------------------------


def test_what_is_done_is_at_rest_when_the_call_returns(place: Path) -> None:
    """A copy of the directory at any time is what a kill would leave."""
    copies = [place.with_name(f"copy{number}") for number in range(4)]
    with Tailnet(state=place) as tailnet:
        key = tailnet.create_auth_key("ann@example.com", tags=["tag:web"])
        shutil.copytree(place, copies[0])
        with node(tailnet, "a", auth_key=key, ephemeral=False):
            shutil.copytree(place, copies[1])
            tailnet.expire("a")
            shutil.copytree(place, copies[2])
            tailnet.remove("a")
            shutil.copytree(place, copies[3])
    unused, joined, expired, removed = (json.loads((copy / FILE).read_bytes()) for copy in copies)
    assert [one["used"] for one in unused["auth_keys"] if one["text"] == key] == [False]
    assert [one["used"] for one in joined["auth_keys"] if one["text"] == key] == [True]
    assert [(one["name"], one["tags"], one["expired"]) for one in joined["members"]] == [("a", ["tag:web"], False)]
    assert [one["expired"] for one in expired["members"]] == [True]
    assert removed["members"] == []


def test_an_auth_key_is_spent_for_good(place: Path) -> None:
    with Tailnet(state=place) as tailnet:
        key = tailnet.create_auth_key()
        with node(tailnet, "a", auth_key=key):
            pass
    with Tailnet(state=place) as tailnet, pytest.raises(AuthKeyRejected, match="already used"):
        node(tailnet, "b", auth_key=key).up()


def test_the_shown_key_is_the_same_as_long_as_it_is_this_users(place: Path) -> None:
    def shown(**options: Any) -> str:
        with Tailnet(state=place, **options) as tailnet:
            return tailnet.auth_key

    key = shown()
    assert shown() == key
    other = shown(user="ann@example.com")
    assert other != key
    assert shown(user="ann@example.com") == other


def test_options_count_and_what_they_leave_out_is_as_it_was(place: Path) -> None:
    web = [{"src": ["*"], "dst": ["tag:web:80"]}]
    db = [{"src": ["*"], "dst": ["tag:db:5432"]}]
    owners = {"tag:web": ["ann@example.com"]}

    def policy(change: Callable[[Tailnet], object] = lambda _tailnet: None, **options: Any) -> tuple[str, bool]:
        with Tailnet(state=place, **options) as tailnet:
            change(tailnet)
            kept = tailnet._state.policy
            return kept.rules[0].written()["dst"][0], kept.may_tag("ann@example.com", "tag:web")

    assert policy() == ("*:0-65535", False)
    assert policy(policy=web, tag_owners=owners) == ("tag:web:80", True)
    assert policy() == ("tag:web:80", True)
    assert policy(policy=db) == ("tag:db:5432", True)
    assert policy(lambda tailnet: tailnet.set_policy(web)) == ("tag:web:80", False)
    assert policy(tag_owners=owners) == ("tag:web:80", True)
    assert policy(lambda tailnet: tailnet.set_policy(None, owners)) == ("*:0-65535", True)


def test_tag_owners_need_no_policy() -> None:
    owners = {"tag:web": ["ann@example.com"]}
    with Tailnet(user="ann@example.com", tag_owners=owners) as tailnet, node(tailnet, "web", tags=["tag:web"]) as web:
        assert web.status().tags == ("tag:web",)


# --- ports ------------------------------------------------------------------------------------------------------


def test_a_port_that_was_asked_for_counts(place: Path) -> None:
    with Tailnet(state=place) as tailnet:
        first = ports_of(tailnet)
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    with Tailnet(state=place, control_port=number) as tailnet:
        assert ports_of(tailnet) == [number, *first[1:]]
    with Tailnet(state=place) as tailnet:
        assert ports_of(tailnet) == [number, *first[1:]]


def test_control_is_where_nodes_look_for_it_or_nowhere(place: Path) -> None:
    with Tailnet(state=place) as tailnet:
        ports = ports_of(tailnet)
    refused = pytest.raises(AddressInUse, match=f"port {ports[0]} is taken.*choose another port")
    with socket.create_server(("127.0.0.1", ports[0])), refused:
        Tailnet(state=place).start()
    with Tailnet(state=place) as tailnet:
        assert ports_of(tailnet) == ports, "and nothing else has been lost"


def test_the_relay_and_stun_go_elsewhere_and_say_so(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tsnet")
    with Tailnet(state=place) as tailnet:
        control, relay, stun = ports_of(tailnet)
    with socket.create_server(("127.0.0.1", relay)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", stun))
        with Tailnet(state=place) as tailnet:
            assert ports_of(tailnet)[0] == control
            assert {relay, stun}.isdisjoint(ports_of(tailnet))
            (told,) = tailnet.derp_map["Regions"]["900"]["Nodes"]
            assert [told["DERPPort"], told["STUNPort"]] == ports_of(tailnet)[1:]
    assert f"port {relay} is taken, where the relay of this tailnet was" in caplog.text
    assert f"port {stun} is taken, where the stun of this tailnet was" in caplog.text


def test_regions_come_back_with_their_keys_and_ports(place: Path) -> None:
    def known(tailnet: Tailnet) -> dict[int, Any]:
        kept = (servers.kept() for servers in tailnet._relays.values())
        return {relay.region: (relay.code, relay.name, relay.key, relay.certificate, relay.derp_port) for relay in kept}

    with Tailnet(state=place, regions=2) as tailnet:
        tailnet.add_region("far", name="Far Away")
        placed = tailnet.add_region("placed", host="127.0.0.2")
        before = known(tailnet)
    elsewhere = before.pop(placed.region)
    with Tailnet(state=place) as tailnet:
        assert known(tailnet) == before
        tailnet.remove_region(902)
        tailnet.remove_region(901)
    with Tailnet(state=place, regions=1) as tailnet:
        assert known(tailnet) == {900: before[900]}
    assert elsewhere[2] not in [relay[2] for relay in before.values()]


def test_a_region_that_is_added_anew_is_the_one_that_it_was(place: Path) -> None:
    keys = []
    for _ in range(2):
        tailnet = Tailnet(state=place)
        placed = tailnet.add_region("placed", host="127.0.0.2")
        with tailnet:
            keys.append((placed.derp_port, placed.stun_port, placed._servers.kept().key))
    assert keys[0] == keys[1]


# --- what stands in the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 9, "half", "version", "certificate"])
def test_a_damaged_state_is_an_error_and_stays_as_it_is(place: Path, damage: bytes | str) -> None:
    with Tailnet(state=place):
        pass
    good = (place / FILE).read_bytes()
    bad = {
        "half": good[: len(good) // 2],
        "version": good.replace(b'"version":1', b'"version":2'),
        "certificate": good.replace(b"-----BEGIN CERT", b"-----BEGIN DIRT"),
    }
    document = damage if isinstance(damage, bytes) else bad[damage]
    (place / FILE).write_bytes(document)
    for _ in range(2):  # and nothing stays locked
        with pytest.raises(StateError, match=rf"{place}/{FILE} .*Restore it from a backup"):
            Tailnet(state=place).start()
    assert (place / FILE).read_bytes() == document
    (place / FILE).write_bytes(good)
    with Tailnet(state=place):
        pass


def test_a_directory_is_one_tailnets(place: Path) -> None:
    with Tailnet(state=place) as tailnet:
        with pytest.raises(StateLocked):
            Tailnet(state=place).start()
        assert tailnet.nodes() == {}


@pytest.mark.parametrize("state", ["", 7, MemoryStore()])
def test_what_is_no_directory(state: Any) -> None:
    with pytest.raises(ConfigError, match="state= is the directory"):
        Tailnet(state=state)


def test_files_are_private(place: Path) -> None:
    with Tailnet(state=place) as tailnet:
        tailnet.create_auth_key()
        assert {file.name: file.stat().st_mode & 0o777 for file in place.iterdir()} == {
            FILE: 0o600,
            "tsnet.lock": 0o600,
        }
        assert place.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.gate.set()


def on(shelf: Shelf) -> Tailnet:
    tailnet = Tailnet()
    tailnet._store = shelf
    return tailnet


def test_a_start_that_cannot_be_kept_is_none(shelf: Shelf) -> None:
    shelf.fails = OSError("full")
    tailnet = on(shelf)
    for _ in range(2):
        with pytest.raises(StateError, match="cannot be written"):
            tailnet.start()
        assert not shelf.is_open
    port = ports_of(tailnet)[0]
    shelf.fails = None
    with tailnet:
        assert ports_of(tailnet)[0] == port


def test_a_write_that_hangs_holds_up_nobody_but_who_waits_for_it(shelf: Shelf) -> None:
    with on(shelf) as tailnet, node(tailnet, "a") as a, node(tailnet, "b") as b:
        shelf.gate.clear()
        shelf.writing.clear()
        with pytest.raises(UpTimeout):
            node(tailnet, "c").up(timeout=0.3)
        assert shelf.writing.is_set()
        talk(a, b)
        assert tailnet.online() >= {"a", "b"}
        shelf.gate.set()
        with node(tailnet, "d") as d:
            talk(a, d)


def test_a_node_is_let_in_once_the_disk_has_room_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "EVERY", 0.05)
    with on(shelf) as tailnet, node(tailnet, "a") as a:
        shelf.fails = StateError("full")
        with pytest.raises(StateError):
            tailnet.create_auth_key()
        with pytest.raises((ControlUnreachable, UpTimeout)):
            node(tailnet, "b").up(timeout=0.3)
        shelf.fails = None
        with node(tailnet, "c") as c:
            talk(a, c)


def test_an_end_that_cannot_be_saved_says_so(shelf: Shelf) -> None:
    tailnet = on(shelf)
    tailnet.start()
    shelf.fails = StateError("full")
    with pytest.raises(StateError, match="full"):
        tailnet.close()
    tailnet.close()
    assert not shelf.is_open


def test_a_start_while_the_last_close_still_writes_leaves_that_write_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted `close` goes on in the background, and a program may begin again at once."""
    may_write, writes = threading.Event(), threading.Event()
    write = DirectoryStore.write

    def slow(self: DirectoryStore, key: str, value: bytes) -> None:
        writes.set()
        assert may_write.wait(10)
        write(self, key, value)

    tailnet = Tailnet(state=place, tls=False)
    tailnet.start()
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "write", slow)
        closing = tailnet._end()
        assert closing is not None
        assert writes.wait(10)
        with pytest.raises(StateLocked):
            tailnet.start()
        may_write.set()
        closing.wait(10)
        closing.outcome()
    with Tailnet(state=place, tls=False) as again:
        assert again.auth_key == tailnet.auth_key


# --- in virtual time --------------------------------------------------------------------------------------------


def test_restarts_in_virtual_time(place: Path) -> None:
    house = House(state=place)
    a, b = house.up("a"), house.up("b", ephemeral=False)
    nodes = house.tailnet.nodes()
    dialled, accepted, _ = house.connect(b, a)
    end(house)
    house.run(20)
    house.finish(house.tailnet._begin())
    assert house.tailnet.nodes() == nodes
    assert house.tailnet.online() == frozenset()
    house.until(lambda: house.tailnet.online() == {"a", "b"})
    dialled.give(b"still")
    house.until(lambda: accepted.has_news)
    assert accepted.take(10) == b"still"


def test_an_ephemeral_node_that_does_not_come_back_is_forgotten(place: Path) -> None:
    house = House(state=place)
    house.up("lasting", ephemeral=False)
    gone = house.up("gone")
    house.up("back")
    end(house)
    house.host.remove(gone.pump)  # its process has died
    house.finish(house.tailnet._begin())
    house.run(OFFLINE_AFTER + EPHEMERAL_AFTER - 5)
    assert set(house.tailnet.nodes()) == {"lasting", "gone", "back"}
    house.run(10)
    assert set(house.tailnet.nodes()) == {"lasting", "back"}


def test_a_login_that_waits_is_asked_for_again(place: Path) -> None:
    house = House(state=place)
    handle = house.handle("a", auth_key="")
    failure = house.failure(handle.up(5))
    assert isinstance(failure, NeedsLogin)
    end(house)
    house.finish(house.tailnet._begin())
    house.until(lambda: house.tailnet._state.logins)
    (login,) = house.tailnet._state.logins
    assert not failure.url.endswith(login)
    house.tailnet.approve(login)
    house.until(lambda: house.tailnet.online() == {"a"})
