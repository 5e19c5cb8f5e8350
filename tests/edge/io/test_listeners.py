"""Listeners against plain sockets and our own links, over loopback."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from tests.authority import Issued, authority, issue
from tests.edge.streams import Streams
from tests.exhausted import none_left
from tsnet.base.links import Accepted, Close, Closed, Link, Open, Opened, Received, Tls
from tsnet.edge.io import links, listeners
from tsnet.edge.io.channel import Ended
from tsnet.edge.io.link_limits import FULL, MAX_LINKS_OF_A_SOURCE, UNOPENED, LinkLimits
from tsnet.edge.io.listeners import MAX_UNOPENED, OPEN_TIMEOUT, PAUSE, LinkListener


@pytest.fixture(scope="module")
def leaf() -> Issued:
    return issue(["derp.test", "127.0.0.1"], by=authority())


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    yield clients
    for client in clients:
        client.close()


def connect(listener: LinkListener, clients: list[socket.socket]) -> socket.socket:
    clients.append(socket.create_connection(listener.address, 5))
    return clients[-1]


def test_accepted_names_the_link_and_its_origin(streams: Streams, clients: list[socket.socket]) -> None:
    listener = streams.listener()
    client = connect(listener, clients)
    accepted = streams.event(listener, Accepted)
    assert accepted.remote == client.getsockname()
    assert accepted.link[:2] == ("listen", listener.address[1])
    client.sendall(b"hello")
    assert streams.event(listener, Received) == Received(accepted.link, b"hello")
    streams.say(listener, accepted.link, b"back", then_close=True)
    streams.turn()
    assert client.recv(10) == b"back"
    assert client.recv(10) == b""


def test_names_are_never_used_twice(streams: Streams, clients: list[socket.socket]) -> None:
    left, right = streams.listener(), streams.listener()
    for listener in (left, right, left):
        connect(listener, clients)
    streams.until(lambda: len([*streams.of(left, Accepted), *streams.of(right, Accepted)]) == 3)
    numbers = {event.link[-1] for port in (left, right) for event in streams.of(port, Accepted)}
    assert len(numbers) == 3


def test_v6(streams: Streams, clients: list[socket.socket]) -> None:
    try:
        listener = streams.listener(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    connect(listener, clients)
    assert streams.event(listener, Accepted).remote[0] == "::1"


def test_with_tls_accepted_comes_after_the_handshake(
    streams: Streams, clients: list[socket.socket], leaf: Issued
) -> None:
    listener = streams.listener(leaf.server_context())
    connect(listener, clients)
    streams.turn()
    streams.turn()
    assert streams.events[listener] == []
    links = streams.links(ssl_context=authority().client_context())
    streams.open(links, listener, Tls("derp.test"))
    streams.event(links, Opened)
    streams.event(listener, Accepted)


def test_plain_and_tls_share_a_port(streams: Streams, clients: list[socket.socket], leaf: Issued) -> None:
    listener = streams.listener(leaf.server_context(), sniff_tls=True)
    plain = connect(listener, clients)
    streams.turn()
    assert streams.events[listener] == []
    plain.sendall(b"GET /key")
    accepted = streams.event(listener, Accepted)
    assert streams.event(listener, Received) == Received(accepted.link, b"GET /key")
    links = streams.links(ssl_context=authority().client_context())
    link = streams.open(links, listener, Tls("derp.test"))
    streams.event(links, Opened)
    streams.say(links, link, b"sealed")
    streams.until(lambda: len(list(streams.of(listener, Received))) == 2)
    assert list(streams.of(listener, Received))[1].data == b"sealed"


def test_sniffing_without_a_context_is_plain(streams: Streams, clients: list[socket.socket]) -> None:
    listener = streams.listener(None, sniff_tls=True)
    connect(listener, clients)
    streams.event(listener, Accepted)


def test_bytes_behind_a_clients_handshake_are_not_lost(
    streams: Streams, clients: list[socket.socket], leaf: Issued
) -> None:
    """What a blocking client writes straight after its handshake comes right behind Accepted."""
    listener = streams.listener(leaf.server_context())
    client = connect(listener, clients)

    def talk() -> None:
        with authority().client_context().wrap_socket(client, server_hostname="derp.test") as inner:
            inner.sendall(b"first words")
            inner.recv(1)
        said.set()
        streams.reactor.call_soon(lambda: None)  # nothing else wakes whoever waits for that

    said = threading.Event()
    thread = threading.Thread(target=talk)
    thread.start()
    received = streams.event(listener, Received)
    assert received.data == b"first words"
    listener.apply(Close(received.link))
    streams.until(said.is_set)
    thread.join()


# --- strangers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"\x16" + bytes(50), b"\x16\x03\x01\x02\x00" + os.urandom(512)])
def test_a_failed_handshake_is_never_heard_of(
    streams: Streams, clients: list[socket.socket], leaf: Issued, garbage: bytes
) -> None:
    listener = streams.listener(leaf.server_context(), sniff_tls=True)
    client = connect(listener, clients)
    client.sendall(garbage)
    streams.until(lambda: not listener._channels and not listener._limits and list(streams.reactor._timers))
    assert streams.events[listener] == []
    assert not listener._remotes


def test_a_silent_client_is_dropped_after_its_time(streams: Streams, clients: list[socket.socket]) -> None:
    listener = streams.listener(issue(["x"]).server_context())
    client = connect(listener, clients)
    streams.until(lambda: listener._channels)
    streams.skew += OPEN_TIMEOUT + 1
    streams.turn()
    assert client.recv(1) == b""
    assert streams.events[listener] == []
    assert not listener._remotes


def test_clients_on_their_way_are_bounded(
    streams: Streams, clients: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_UNOPENED >= 2 * MAX_LINKS_OF_A_SOURCE
    monkeypatch.setattr(listeners, "MAX_UNOPENED", 3)
    listener = streams.listener(issue(["x"]).server_context())
    for _ in range(5):
        connect(listener, clients)
    streams.until(lambda: len(listener._limits) == 3)
    streams.turn()
    assert [client.recv(1) for client in clients[3:]] == [b"", b""]
    assert len(listener._channels) == 3
    assert listener._link_limits.refused == {UNOPENED: 2}


def test_whoever_is_too_many_is_closed_before_a_handshake(
    streams: Streams, clients: list[socket.socket], leaf: Issued
) -> None:
    limits = LinkLimits(3, 3)
    listener = streams.listener(leaf.server_context(), limits=limits)
    for _ in range(5):
        connect(listener, clients)
    streams.until(lambda: sum(limits.refused.values()) == 2)
    assert [client.recv(1) for client in clients[3:]] == [b"", b""]
    assert limits.refused == {FULL: 2}
    assert len(limits) == len(listener._channels) == 3


def test_a_link_counts_until_its_descriptor_is_closed(streams: Streams, clients: list[socket.socket]) -> None:
    limits = LinkLimits(1, 1)
    listener = streams.listener(limits=limits)
    client = connect(listener, clients)
    listener.apply(Close(streams.event(listener, Accepted).link))
    assert listener._lingering
    assert len(limits) == 1
    client.close()
    streams.until(lambda: len(limits) == 0)
    connect(listener, clients)
    streams.until(lambda: len(limits) == 1)
    listener.close()
    assert len(limits) == 0
    assert not limits.refused


def test_a_link_that_never_opens_leaves_too(
    streams: Streams, clients: list[socket.socket], leaf: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = LinkLimits(1, 1)
    listener = streams.listener(leaf.server_context(), sniff_tls=True, limits=limits)
    connect(listener, clients).sendall(b"\x16" + bytes(50))
    streams.until(lambda: not listener._remotes and len(limits) == 0 and list(streams.reactor._timers))

    def refuse(*_: object, **__: object) -> None:
        raise Ended("no session")

    monkeypatch.setattr(links, "Channel", refuse)
    connect(listener, clients)
    streams.until(lambda: listener._limits == {} and not listener._remotes)
    assert len(limits) == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to count descriptors")
def test_without_descriptors_the_listener_rests(streams: Streams, clients: list[socket.socket]) -> None:
    listener = streams.listener()
    connect(listener, clients)
    with none_left():
        streams.turn()
    assert not listener._channels
    streams.turn()
    assert not listener._channels
    streams.skew += PAUSE * 2
    streams.event(listener, Accepted)


# --- the port ---------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_an_error(streams: Streams) -> None:
    listener = streams.listener()
    with pytest.raises(OSError) as raised:
        LinkListener(streams.reactor, *listener.address, lambda: None)
    assert raised.value.errno == errno.EADDRINUSE


def test_close_ends_links_and_refuses_new_ones(streams: Streams, clients: list[socket.socket]) -> None:
    listener = streams.listener()
    client = connect(listener, clients)
    streams.event(listener, Accepted)
    listener.close()
    listener.close()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.address, 5)


def test_a_listener_cannot_open(streams: Streams) -> None:
    listener = streams.listener()
    with pytest.raises(ValueError, match="cannot open"):
        listener.apply(Open(Link("test", "", 1), ("127.0.0.1",), 1))


def test_a_client_that_leaves_is_told_of(streams: Streams, clients: list[socket.socket]) -> None:
    listener = streams.listener()
    connect(listener, clients).close()
    accepted = streams.event(listener, Accepted)
    assert streams.event(listener, Closed) == Closed(accepted.link, "eof")


def test_the_servers_context_is_used_as_it_is(streams: Streams, leaf: Issued) -> None:
    context = leaf.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    listener, links = streams.listener(context), streams.links(ssl_context=authority().client_context())
    streams.open(links, listener, Tls("derp.test"))
    streams.event(links, Opened)
    channel = next(iter(links._channels.values()))
    assert channel.session is not None
    assert channel.session._object.version() == "TLSv1.2"


def test_a_machine_that_is_gone_without_a_word_is_found_out(streams: Streams, clients: list[socket.socket]) -> None:
    """By the system, which asks; the server may have nothing to say for hours."""
    listener = streams.listener()
    connect(listener, clients)
    accepted = streams.event(listener, Accepted)
    sock = listener._channels[accepted.link].socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == listeners.KEEPALIVE["TCP_KEEPIDLE"]
