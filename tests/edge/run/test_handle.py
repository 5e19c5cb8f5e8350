from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.house import House, events_of
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.store import MemoryStore
from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run import process_end
from tsnet.edge.run.handle import Handle
from tsnet.edge.run.opening import Options
from tsnet.engine import facts
from tsnet.errors import (
    AddressInUse,
    AddressNotAvailable,
    AuthKeyRejected,
    ControlUnreachable,
    KeyExpired,
    NeedsLogin,
    NodeRemoved,
    NotUp,
    StateError,
    StateLocked,
    StreamReset,
    UpTimeout,
)


@pytest.fixture
def house() -> House:
    return House()


# --- up ---------------------------------------------------------------------------------------------------------


def test_up_then_reachable(house: House) -> None:
    a = house.handle("a")
    assert (a.state, a.view) == ("stopped", None)
    house.finish(a.up(10))
    assert a.state == "running"
    assert a.view is not None
    house.finish(a.reachable(10))
    assert a.view.home_region == 900
    house.finish(a.reachable(10))  # at once, now


def test_any_verb_starts_the_node(house: House) -> None:
    a, b = house.handle("a"), house.handle("b")
    house.finish(a.listen(80, None, 10))
    house.finish(b.dial("a", 80, 10))
    assert (a.state, b.state) == ("running", "running")


def test_many_who_wait_are_all_told(house: House) -> None:
    a = house.handle("a")
    for operation in [a.up(10) for _ in range(5)]:
        house.finish(operation)
    assert len(a._joining) == 0


def test_two_threads_start_one_node(house: House) -> None:
    opened: list[int] = []

    class Counting(MemoryStore):
        def open(self) -> None:
            opened.append(1)

    a = house.handle("a", store=Counting())
    threads = [threading.Thread(target=a.up, args=(10,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.finish(a.up(10))
    assert opened == [1]
    assert house.host.users == 2  # the tailnet and one node


def test_a_key_that_control_does_not_know_fails_at_once_and_for_good(house: House) -> None:
    a = house.handle("a", auth_key="tskey-auth-wrong")
    begun = house.now
    assert isinstance(house.failure(a.up(60)), AuthKeyRejected)
    assert house.now - begun < 5
    assert isinstance(house.failure(a.dial("b", 80, 60)), AuthKeyRejected)
    assert a.state == "failed"
    house.finish(a.close(1))


def test_tags_that_the_key_may_not_have(house: House) -> None:
    a = house.handle("a", tags=["tag:web"])
    error = house.failure(a.up(60))
    assert isinstance(error, AuthKeyRejected)
    assert "tag:web" in str(error)


def test_nothing_answers_at_the_control_url(house: House) -> None:
    a = house.handle("a", control_url=f"http://{house.world.v4}:9")
    begun = house.now
    error = house.failure(a.up(7))
    assert isinstance(error, ControlUnreachable)
    assert house.now - begun == pytest.approx(7, abs=0.1)
    house.finish(a.close(1))


def test_nobody_logs_it_in(house: House) -> None:
    a = house.handle("a", auth_key="")
    error = house.failure(a.up(10))
    assert isinstance(error, NeedsLogin)
    assert error.url.startswith("http://")
    assert error.url in str(error)


def test_somebody_logs_it_in(house: House) -> None:
    urls: list[str] = []
    options = Options(on_login_url=lambda url: urls.append(url) or True)  # type: ignore[func-returns-value]
    a = house.handle("a", auth_key="", options=options)
    operation = a.up(60)
    house.until(lambda: urls)
    assert (a.state, a.login_url) == ("needs-login", urls[0])
    house.run(1)
    house.tailnet.approve(urls[0])
    house.finish(operation)
    assert (a.state, a.login_url) == ("running", "")


def test_nobody_logs_it_in_within_the_time_given(house: House) -> None:
    a = house.handle("a", auth_key="", options=Options(on_login_url=lambda url: True))
    error = house.failure(a.up(5))
    assert isinstance(error, NeedsLogin)
    assert "within 5 s" in str(error)


def test_reachable_has_a_time_limit_and_says_what_is_missing(house: House) -> None:
    a = house.handle("a")
    house.finish(a.up(10))
    house.world.cut(house.tailnet.relays[0].derp_port, down=100.0)
    b = house.handle("b")
    error = house.failure(b.reachable(3))
    assert isinstance(error, UpTimeout)
    assert "relay" in str(error)
    assert len(b._reaching) == 0
    house.finish(b.up(1))  # it runs all the same


def test_a_late_start_leaves_a_dial_the_rest_of_its_time(house: House) -> None:
    a, b = house.up("a"), house.handle("b")
    house.host.remove(a.pump)
    house.world.cut(house.tailnet._port.number, down=2.0)
    begun = house.now
    house.failure(b.dial("a", 80, 6))
    assert house.now - begun == pytest.approx(6, abs=0.1)


def test_the_udp_port_is_taken(house: House) -> None:
    house.world.machine("a").open_udp(5000, lambda: None)
    a = house.handle("a", port=5000)
    error = house.failure(a.up(10))
    assert isinstance(error, AddressInUse)
    assert "5000" in str(error)
    house.finish(a.close(1))
    assert house.host.users == 1


# --- state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\0\1\2", b'{"version": 99, "kind": "tsnet-py"}', b'{"_machinekey": "x"}']
)
def test_a_state_that_cannot_be_read_is_an_error_that_names_it_and_stays(
    house: House, tmp_path: Path, content: bytes
) -> None:
    store = DirectoryStore(tmp_path)
    store.file("identity").write_bytes(content)
    a = house.handle("a", store=store)
    error = house.failure(a.up(10))
    assert isinstance(error, StateError)
    assert str(store.file("identity")) in str(error)
    assert store.file("identity").read_bytes() == content
    assert house.tailnet.nodes() == {}
    house.finish(a.close(1))
    store.open()  # it is not left locked
    store.close()


def test_the_identity_comes_back(house: House, tmp_path: Path) -> None:
    for _ in range(2):
        a = house.handle("a", store=DirectoryStore(tmp_path), ephemeral=False)
        house.finish(a.up(10))
        address = a.node.addresses
        house.finish(a.close(2))
    assert house.tailnet.nodes() == {"a": address}


def test_a_second_process_or_node_is_turned_away(house: House, tmp_path: Path) -> None:
    a = house.handle("a", store=DirectoryStore(tmp_path))
    house.finish(a.up(10))
    error = house.failure(house.handle("a", store=DirectoryStore(tmp_path)).up(10))
    assert isinstance(error, StateLocked)
    house.finish(a.close(1))
    house.finish(house.handle("a", store=DirectoryStore(tmp_path)).up(10))


def test_a_state_that_cannot_be_saved_stops_a_new_identity(house: House) -> None:
    class Full(MemoryStore):
        def write(self, key: str, value: bytes) -> None:
            raise StateError("the disk is full")

    a = house.handle("a", store=Full())
    assert "disk is full" in str(house.failure(a.up(10)))
    house.finish(a.close(1))


# --- verbs ------------------------------------------------------------------------------------------------------


def test_ports_and_addresses_of_listeners(house: House) -> None:
    a = house.up("a")
    first = house.finish(a.listen(0, None, 5))
    assert first.port > 0
    assert isinstance(house.failure(a.listen(first.port, None, 5)), AddressInUse)
    own = a.node.addresses[1]
    assert house.finish(a.listen(first.port + 1, own, 5)).addresses == (str(own),)
    from ipaddress import ip_address

    assert isinstance(house.failure(a.listen(80, ip_address("100.99.0.1"), 5)), AddressNotAvailable)


def test_datagrams(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    listening = house.finish(a.listen_packet(53, None, 5))
    dialled = house.finish(b.dial_packet("a", 53, 5))
    dialled.give(b"question", dialled.remote or ("", 0))
    house.until(lambda: listening.has_news)
    question = listening.take()
    assert question is not None
    listening.give(b"answer", question[1])
    house.until(lambda: dialled.has_news)
    assert dialled.take() == (b"answer", dialled.remote)


def test_an_operation_that_is_cancelled_before_its_value_comes_frees_what_it_got(house: House) -> None:
    a = house.up("a")
    operation: Operation[Any]
    for operation in (a.listen(80, None, 5), a.listen_packet(80, None, 5)):
        operation.cancel()
        house.run(0.1)
    house.finish(a.listen(80, None, 5))
    house.finish(a.listen_packet(80, None, 5))


def test_a_bug_in_a_verb_is_the_callers_to_see_and_not_the_nodes_end(house: House) -> None:
    a = house.up("a")
    a.node.calls.listen = lambda *_, **__: 1 / 0  # type: ignore[assignment, method-assign]
    operation = a.listen(80, None, 5)
    house.until(lambda: operation.done)
    assert isinstance(operation._error, ZeroDivisionError)
    assert a.state == "running"


# --- events -----------------------------------------------------------------------------------------------------


def test_events_of_peers(house: House) -> None:
    a = house.up("a")
    subscription = a.subscribe()
    b = house.up("b")
    house.finish(b.close(2))
    house.run(1)
    seen = events_of(subscription)
    assert [event.peer.name for event in seen if isinstance(event, facts.PeerAppeared)] == ["b.tailnet.test"]
    assert [event.peer.name for event in seen if isinstance(event, facts.PeerLeft)] == ["b.tailnet.test"]
    del subscription
    assert a.reports._subscriptions == []


def test_control_expires_or_deletes_the_node(house: House) -> None:
    a, b = house.up("a"), house.up("b", ephemeral=False)
    house.tailnet.expire("a")
    house.run(1)
    assert isinstance(house.failure(a.dial("b", 80, 5)), KeyExpired)
    heard = b.subscribe()
    house.tailnet.remove("b")
    house.until(lambda: b.state == "failed", 10)
    problems = [event.error for event in events_of(heard) if isinstance(event, facts.Problem)]
    assert isinstance(problems[-1], NodeRemoved)
    assert heard.ended
    house.finish(b.up(10))  # somebody wants it up again, and the auth key is good for another node
    assert set(house.tailnet.nodes()) == {"a", "b"}


def test_trouble_is_said_once_not_with_every_attempt(house: House, caplog: pytest.LogCaptureFixture) -> None:
    a = house.handle("a", control_url=f"http://{house.world.v4}:9")
    with caplog.at_level(logging.WARNING, "tsnet"):
        house.failure(a.up(60))
        house.finish(a.close(2))
    assert len(caplog.records) == 1


def test_an_outage_of_control_is_told_once_and_so_is_its_end(house: House) -> None:
    a = house.up("a")
    heard = a.subscribe()
    for _ in range(2):
        house.tailnet._stop(house.tailnet._control)
        house.run(40)
        found = [event for event in events_of(heard) if isinstance(event, facts.ControlChanged | facts.Problem)]
        assert [type(event).__name__ for event in found] == ["ControlChanged", "Problem"]
        assert isinstance(found[0], facts.ControlChanged)
        assert not found[0].connected
        house.tailnet._start_control()
        house.until(lambda: any(event == facts.ControlChanged(True) for event in events_of(heard)), 60)


# --- close ------------------------------------------------------------------------------------------------------


def test_close_is_idempotent_frees_everything_and_is_final(house: House) -> None:
    a = house.up("a")
    assert a not in process_end._open  # it has no thread that the process could leave behind
    first, second = a.close(2), a.close(2)
    house.finish(first)
    house.finish(second)
    house.finish(a.close(2))
    assert a.state == "closed"
    assert house.host.users == 1
    assert a._pump is None
    late: list[Operation[Any]] = [a.up(1), a.dial("b", 80, 1), a.listen(80, None, 1), a.ping("b", "icmp", 1)]
    for operation in late:
        assert isinstance(house.failure(operation), NotUp)
    assert a.subscribe().ended


def test_close_twice_at_once_releases_the_host_once(house: House) -> None:
    a = house.handle("a", control_url=f"http://{house.world.v4}:9", port=5000)
    house.world.machine("a").open_udp(5000, lambda: None)
    house.failure(a.up(5))  # no pump at all
    for operation in [a.close(1) for _ in range(3)]:
        house.finish(operation)
    assert house.host.users == 1


def test_a_node_that_never_started_closes_at_once(house: House) -> None:
    a = house.handle("a")
    assert a.close(1).done
    assert isinstance(house.failure(a.up(1)), NotUp)


def test_close_while_it_starts_ends_who_waits(house: House) -> None:
    a = house.handle("a", control_url=f"http://{house.world.v4}:9")
    waiting: list[Operation[Any]] = [a.up(60), a.reachable(60), a.dial("b", 80, 60)]
    house.run(0.5)
    house.finish(a.close(2))
    for operation in waiting:
        assert isinstance(house.failure(operation), NotUp)


def test_close_ends_who_waits_to_be_reachable(house: House) -> None:
    house.world.cut(house.tailnet.relays[0].derp_port, down=100.0)
    a = house.handle("a")
    waiting = a.reachable(60)
    house.finish(a.up(5))
    house.finish(a.close(2))
    assert isinstance(house.failure(waiting), NotUp)


def test_streams_end_in_order_and_what_was_given_arrives(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    dialled, accepted, _ = house.connect(b, a)
    dialled.give(b"x" * 300_000)
    house.finish(b.close(2))
    received = b""
    house.run(1)
    while data := accepted.take(1 << 20):
        received += data
    assert (len(received), data) == (300_000, None)
    with pytest.raises(NotUp):
        dialled.give(b"more")


def test_close_is_bounded_when_the_peer_is_gone(house: House) -> None:
    a, b = house.up("a"), house.up("b")
    dialled, _, _ = house.connect(b, a)
    house.host.remove(a.pump)
    dialled.give(bytes(100_000))
    begun = house.now
    house.finish(b.close(2))
    assert house.now - begun == pytest.approx(2, abs=0.1)


def test_close_is_bounded_when_control_is_gone(house: House) -> None:
    a = house.up("a")
    house.world.cut(house.tailnet._port.number, down=100.0)
    house.run(0.1)
    begun = house.now
    house.finish(a.close(2))
    assert house.now - begun <= 2.1


def test_an_aborted_end_of_the_node_resets_the_peers_stream(house: House) -> None:
    a, b = house.up("a"), house.up("b", ephemeral=False)
    _dialled, accepted, _ = house.connect(b, a)
    for _ in range(30):  # more than all buffers hold, and nobody reads it there
        accepted.give(bytes(1_000_000))
        house.run(0.5)
    house.finish(b.close(1))
    house.until(lambda: accepted.error is not None)
    assert isinstance(accepted.error, StreamReset)


def test_at_the_end_of_the_process_only_those_with_a_thread_are_closed(house: House) -> None:
    a: Handle = house.up("a")
    process_end.close_all()
    assert a.state == "running"
    house.finish(a.close(1))
