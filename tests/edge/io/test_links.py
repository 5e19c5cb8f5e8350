"""Dialled links against our own listener and against plain sockets, over loopback."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tests.authority import Issued, authority, issue, stranger
from tests.edge.streams import Streams
from tsnet.base.links import (
    ADDRESS_LOST,
    Accepted,
    Close,
    Closed,
    Computed,
    Data,
    Full,
    Link,
    LookedUp,
    LookUp,
    Open,
    Opened,
    Pause,
    Received,
    Resume,
    Room,
    Tls,
)
from tsnet.base.network import Network
from tsnet.base.proxies import asked_for, of_environment
from tsnet.base.steps import Steps
from tsnet.edge.io.channel import READ_SIZE, WRITE_LIMIT
from tsnet.edge.io.dial import NO_NAME_SERVER
from tsnet.edge.io.links import LINGER, TURN_SIZE, own_address
from tsnet.edge.io.tls import MAX_READS

LINK = Link("test", "", 1)
DATA = os.urandom(1 << 20)


@pytest.fixture(scope="module")
def leaf() -> Issued:
    return issue(["derp.test", "127.0.0.1"], by=authority())


@pytest.fixture(scope="module")
def roots() -> ssl.SSLContext:
    return authority().client_context()


class PlainServer:
    """A raw listening socket: the test does what the other end does."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.socket.getsockname()
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        sock, _ = self.socket.accept()
        sock.settimeout(5)
        self.accepted.append(sock)
        return sock

    def close(self) -> None:
        for sock in (self.socket, *self.accepted):
            sock.close()


@pytest.fixture
def server() -> Iterator[PlainServer]:
    server = PlainServer()
    yield server
    server.close()


# --- open, data, close ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_tls", [False, True])
def test_bytes_go_both_ways_intact(streams: Streams, leaf: Issued, roots: ssl.SSLContext, with_tls: bool) -> None:
    links = streams.links(ssl_context=roots)
    listener = streams.listener(leaf.server_context() if with_tls else None)
    streams.open(links, listener, Tls("derp.test") if with_tls else None)
    assert streams.event(links, Opened) == Opened(LINK)
    accepted = streams.event(listener, Accepted)
    streams.say(links, LINK, DATA)
    streams.say(listener, accepted.link, DATA[::-1])
    streams.until(
        lambda: len(streams.bytes_of(links, LINK)) + len(streams.bytes_of(listener, accepted.link)) == 2 * len(DATA)
    )
    assert streams.bytes_of(listener, accepted.link) == DATA
    assert streams.bytes_of(links, LINK) == DATA[::-1]


def test_opened_tells_the_key_that_the_other_end_names(streams: Streams, leaf: Issued, roots: ssl.SSLContext) -> None:
    links = streams.links(ssl_context=roots)
    listener = streams.listener(leaf.server_context(issue(common_name="derpkey" + "0a" * 32, serial=2)))
    streams.open(links, listener, Tls("derp.test"))
    assert streams.event(links, Opened) == Opened(LINK, b"\x0a" * 32)


def test_many_small_writes_of_a_turn_leave_together(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    for number in range(100):
        streams.say(links, LINK, bytes([number]))
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1000)
    links.flush()
    assert other.recv(1000) == bytes(range(100))


@pytest.mark.parametrize("with_tls", [False, True])
def test_close_after_data_delivers_the_data(
    streams: Streams, leaf: Issued, roots: ssl.SSLContext, with_tls: bool
) -> None:
    """More than the socket's buffers hold, to a peer that only reads later."""
    links = streams.links(ssl_context=roots)
    listener = streams.listener(leaf.server_context() if with_tls else None)
    streams.open(links, listener, Tls("derp.test") if with_tls else None)
    accepted = streams.event(listener, Accepted)
    streams.event(links, Opened)
    streams.say(listener, accepted.link, b"never read by the other machine")
    for _ in range(8):
        streams.say(links, LINK, DATA)
    links.apply(Close(LINK))
    assert streams.event(listener, Closed) == Closed(accepted.link, "eof")
    assert streams.bytes_of(listener, accepted.link) == DATA * 8
    assert not list(streams.of(links, Closed))
    streams.until(lambda: not links._lingering and not listener._lingering)


def test_a_closed_link_lingers_only_so_long(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    streams.say(links, LINK, b"bye", then_close=True)
    streams.turn()
    assert other.recv(10) == b"bye"
    assert other.recv(10) == b""
    assert links._lingering
    streams.skew += LINGER + 1
    streams.turn()
    assert not links._lingering


def test_no_event_follows_close(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    server.accept().sendall(b"late")
    streams.reactor.wait(streams.reactor.clock() + 5)
    links.apply(Close(LINK))
    links.apply(Close(LINK))
    streams.say(links, LINK, b"into nothing")
    assert links.receive() == []


def test_close_of_a_dial(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    links.apply(Close(LINK))
    streams.turn()
    streams.turn()
    assert streams.events[links] == []
    assert not links._dials
    assert not links._limits


def test_port_close_ends_everything_at_once(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    streams.open(links, server.address, link=Link("test", "", 2))
    streams.say(links, LINK, b"last words")
    links.close()
    links.close()
    assert other.recv(100) == b"last words"
    assert other.recv(100) == b""
    assert links.receive() == []


# --- how links end ----------------------------------------------------------------------------------------------


def test_eof_comes_after_the_last_bytes(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    other.sendall(b"last")
    other.close()
    streams.event(links, Closed)
    assert streams.events[links] == [Opened(LINK), Received(LINK, b"last"), Closed(LINK, "eof")]


def test_reset(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.close()
    assert streams.event(links, Closed).reason == "reset"


def test_a_failed_write_is_reported_after_what_had_arrived(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    other.sendall(b"why I hang up")
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    streams.say(links, LINK, b"x")
    links.flush()
    other.close()
    for _ in range(3):
        streams.say(links, LINK, b"y")
        links.flush()
    closed = streams.event(links, Closed)
    assert closed.reason in ("reset", "eof")
    assert len(list(streams.of(links, Closed))) == 1


def test_refused_and_dns(streams: Streams) -> None:
    def look_up(host: str) -> list[str]:
        raise socket.gaierror(-2, "unknown")

    links = streams.links(lookup=look_up)
    listener = streams.listener()
    address = listener.address
    listener.close()
    streams.open(links, address)
    assert streams.event(links, Closed, LINK).reason == "refused"
    streams.open(links, address, hosts=("nobody.test",), link=Link("test", "", 2))
    assert streams.event(links, Closed, Link("test", "", 2)).reason == "dns"


def test_a_name_is_looked_up_and_an_answer_without_an_address_is_one(streams: Streams) -> None:
    def look_up(host: str) -> list[str]:
        if host != "derp.test":
            raise socket.gaierror(-2, "unknown")
        return ["2001:db8::1", "192.0.2.1"]

    links, other = streams.links(lookup=look_up), Link("test", "nobody.test", 2)
    links.apply(LookUp(LINK, "derp.test"))
    assert streams.event(links, LookedUp, LINK).addresses == (ip_address("2001:db8::1"), ip_address("192.0.2.1"))
    links.apply(LookUp(other, "nobody.test"))
    assert streams.event(links, LookedUp, other).addresses == ()


@pytest.mark.parametrize("tls", [None, Tls("derp.test")])
def test_the_timeout_covers_dial_and_handshake(streams: Streams, server: PlainServer, tls: Tls | None) -> None:
    """A lookup that hangs; a server that takes the connection and says nothing."""
    release = threading.Event()

    def look_up(host: str) -> list[str]:
        release.wait(5)
        return []

    links = streams.links(lookup=look_up)
    streams.open(links, server.address, tls, hosts=("127.0.0.1",) if tls else ("slow.test",), timeout=3)
    streams.turn()
    assert streams.events[links] == []
    streams.skew += 3.5
    assert streams.event(links, Closed) == Closed(LINK, "timeout" if tls else NO_NAME_SERVER)
    release.set()
    assert not links._limits
    assert not links._dials


def test_an_open_link_has_no_time_limit(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address, timeout=3)
    streams.event(links, Opened)
    streams.skew += 100
    streams.turn()
    assert streams.events[links] == [Opened(LINK)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: issue(["derp.test"], by=authority(), days=(-9, -1)), "certificate: expired"),
        (lambda: issue(["derp.test"], by=authority(), days=(1, 9)), "certificate: not yet valid"),
        (lambda: issue(["derp.test"], by=stranger()), "certificate: unknown authority"),
        (lambda: issue(["derp.test"]), "certificate: self-signed"),
        (lambda: issue(["other.test"], by=authority()), "certificate: wrong name"),
    ],
    ids=["expired", "not yet valid", "unknown authority", "self-signed", "wrong name"],
)
def test_a_refused_certificate_is_the_reason(
    streams: Streams, roots: ssl.SSLContext, make: object, reason: str
) -> None:
    assert callable(make)
    links, listener = streams.links(ssl_context=roots), streams.listener(make().server_context())
    streams.open(links, listener, Tls("derp.test"))
    assert streams.event(links, Closed).reason.startswith(reason)
    assert not list(streams.of(listener, Accepted))
    assert not list(streams.of(links, Opened))


def test_a_wrong_pin_is_the_reason_and_a_right_one_is_taken(streams: Streams) -> None:
    import hashlib

    own = issue(["derp.test"])
    links, listener = streams.links(), streams.listener(own.server_context())
    right = "sha256-raw:" + hashlib.sha256(own.der).hexdigest()
    streams.open(links, listener, Tls("derp.test", right))
    streams.event(links, Opened, LINK)
    streams.open(links, listener, Tls("derp.test", "sha256-raw:" + "0" * 64), link=Link("test", "", 2))
    assert streams.event(links, Closed, Link("test", "", 2)).reason == f"certificate: wrong pin: presented {right}"


def test_a_server_without_tls_is_a_tls_error(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address, Tls("derp.test"))
    streams.turn()
    other = server.accept()
    other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert streams.event(links, Closed).reason == "tls: wrong version number"


def test_tls_without_a_name_ends_at_once(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address, Tls(""))
    assert streams.event(links, Closed).reason == "tls: no name to check the certificate by"


# --- full, room -------------------------------------------------------------------------------------------------


def test_full_and_room(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    said = 0
    while not list(streams.of(links, Full)):
        assert said < 64 << 20
        streams.say(links, LINK, DATA[: WRITE_LIMIT // 4])
        said += WRITE_LIMIT // 4
        streams.turn()
    streams.say(links, LINK, b"still taken")
    assert len(list(streams.of(links, Full))) == 1
    got = bytearray()
    while not list(streams.of(links, Room)):
        got += other.recv(1 << 16)
        streams.turn()
    while len(got) < said + 11:
        got += other.recv(1 << 16)
        streams.turn()
    assert got.endswith(b"still taken")
    assert hash(bytes(got[: WRITE_LIMIT // 4])) == hash(DATA[: WRITE_LIMIT // 4])
    assert len(list(streams.of(links, Room))) == 1


# --- what one turn reads ------------------------------------------------------------------------------------------


def test_a_paused_link_is_not_read_and_costs_no_wake(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    links.apply(Pause(LINK))
    other.sendall(b"early")
    ready = streams.ready
    for _ in range(3):
        streams.turn()
    assert (streams.ready, streams.bytes_of(links, LINK)) == (ready, b"")
    links.apply(Resume(LINK))
    streams.until(lambda: streams.bytes_of(links, LINK) == b"early")


def test_a_paused_link_is_written_and_closed_as_ever(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    links.apply(Pause(LINK))
    other.sendall(b"unread")
    streams.say(links, LINK, DATA)
    streams.say(links, LINK, b"bye", then_close=True)
    got = bytearray()
    while piece := _turn_and_receive(streams, other):
        got += piece
    assert got == DATA + b"bye"


def _turn_and_receive(streams: Streams, other: socket.socket) -> bytes:
    streams.turn()
    return other.recv(1 << 20)


def test_an_end_is_noticed_once_the_link_goes_on(streams: Streams, server: PlainServer) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    links.apply(Pause(LINK))
    server.accept().close()
    streams.turn()
    assert list(streams.of(links, Closed)) == []
    links.apply(Resume(LINK))
    assert streams.event(links, Closed) == Closed(LINK, "eof")


def test_tls_records_that_were_read_before_a_pause_come_after_it(
    streams: Streams, leaf: Issued, roots: ssl.SSLContext
) -> None:
    """Tiny records, more than one turn opens: what is left over is in the session, and not in the socket."""
    links = streams.links(ssl_context=roots)
    listener = streams.listener(leaf.server_context())
    streams.open(links, listener, Tls("derp.test"))
    accepted = streams.event(listener, Accepted)
    streams.event(links, Opened)
    for number in range(3 * MAX_READS):
        streams.say(listener, accepted.link, bytes([number % 256]))
        listener.flush()
    streams.until(lambda: list(streams.of(links, Received)))
    assert len(streams.bytes_of(links, LINK)) <= MAX_READS
    links.apply(Pause(LINK))
    before = len(streams.bytes_of(links, LINK))
    for _ in range(3):
        streams.turn()
    assert len(streams.bytes_of(links, LINK)) == before
    links.apply(Resume(LINK))
    streams.until(lambda: len(streams.bytes_of(links, LINK)) == 3 * MAX_READS)
    assert streams.bytes_of(links, LINK) == bytes(range(256)) * (3 * MAX_READS // 256)


def test_one_turn_reads_a_bounded_part_and_those_without_a_turn_come_first(streams: Streams) -> None:
    """Eight full links: each turn reads the half of them, and the other half comes in the next one."""
    links, listener = streams.links(), streams.listener()
    names = [streams.open(links, listener, link=Link("test", "", number)) for number in range(1, 9)]
    streams.until(lambda: len(list(streams.of(listener, Accepted))) == 8)
    streams.until(lambda: len(list(streams.of(links, Opened))) == 8)
    for name in names:
        streams.say(links, name, bytes(READ_SIZE))
    links.flush()
    streams.reactor.wait(0)
    turns = [listener.receive()]
    while sum(len(event.data) for events in turns for event in events if isinstance(event, Received)) < 8 * READ_SIZE:
        links.flush()
        streams.reactor.wait(0)
        turns.append(listener.receive())
    sizes = [sum(len(event.data) for event in events if isinstance(event, Received)) for events in turns]
    assert max(sizes) < TURN_SIZE + READ_SIZE
    first, second = ({event.link for event in events if isinstance(event, Received)} for events in turns[:2])
    if len(first) < 8:
        assert second - first, "the next turn begins with those that were left out"


# --- compute ----------------------------------------------------------------------------------------------------


def test_compute_runs_elsewhere_and_answers(streams: Streams) -> None:
    links = streams.links()

    def number(text: str) -> Steps[tuple[int, int]]:
        yield
        return int(text), threading.get_ident()

    streams.compute(links, LINK, number, "7")
    value = streams.event(links, Computed, LINK).value
    assert value[0] == 7
    assert value[1] != threading.get_ident()


def test_compute_answers_with_the_exception(streams: Streams) -> None:
    links = streams.links()

    def fail(text: str) -> Steps[int]:
        yield
        return int(text)

    streams.compute(links, LINK, fail, "x")
    assert isinstance(streams.event(links, Computed).value, ValueError)


# --- proxy ------------------------------------------------------------------------------------------------------


def test_through_a_proxy(streams: Streams, server: PlainServer) -> None:
    links = streams.links(proxies=asked_for(f"http://user:pass@127.0.0.1:{server.address[1]}"))
    links.apply(Open(LINK, ("derp.test", "192.0.2.1"), 443))
    streams.turn()
    proxy = server.accept()
    streams.until(lambda: not links._dials)
    request = proxy.recv(1000)
    assert request.startswith(b"CONNECT derp.test:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in request
    assert streams.events[links] == []
    proxy.sendall(b"HTTP/1.1 200 OK\r\n")
    streams.turn()
    proxy.sendall(b"\r\nand the first bytes")
    streams.event(links, Received)
    assert streams.events[links] == [Opened(LINK), Received(LINK, b"and the first bytes")]
    streams.say(links, LINK, b"hello")
    links.flush()
    assert proxy.recv(100) == b"hello"


def test_tls_through_a_proxy(streams: Streams, server: PlainServer, leaf: Issued, roots: ssl.SSLContext) -> None:
    links = streams.links(proxies=asked_for(f"http://127.0.0.1:{server.address[1]}"), ssl_context=roots)
    links.apply(Open(LINK, ("derp.test",), 443, Tls("derp.test")))

    def serve() -> None:
        sock = server.accept()
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with leaf.server_context().wrap_socket(sock, server_side=True) as inner:
            inner.sendall(inner.recv(100).upper())

    thread = threading.Thread(target=serve)
    thread.start()
    streams.event(links, Opened)
    streams.say(links, LINK, b"hello")
    streams.event(links, Closed)
    thread.join()
    assert streams.bytes_of(links, LINK) == b"HELLO"


def test_a_proxy_that_refuses(streams: Streams, server: PlainServer) -> None:
    links = streams.links(proxies=asked_for(f"http://127.0.0.1:{server.address[1]}"))
    streams.open(links, ("192.0.2.1", 443))
    streams.turn()
    server.accept().sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    assert streams.event(links, Closed).reason == f"proxy http://127.0.0.1:{server.address[1]}: 403 Forbidden"


def test_what_happens_before_a_proxy_has_answered_is_the_proxys(streams: Streams, server: PlainServer) -> None:
    name = f"http://127.0.0.1:{server.address[1]}"
    links = streams.links(proxies=asked_for(name))
    streams.open(links, ("192.0.2.1", 443))
    streams.turn()
    server.accept().close()
    assert streams.event(links, Closed).reason in (f"proxy {name}: eof", f"proxy {name}: reset")
    streams.events[links].clear()
    server.socket.close()
    links.apply(Open(Link("test", "later", 2), ("192.0.2.1",), 443))
    assert streams.event(links, Closed).reason == f"proxy {name}: refused"


def test_what_happens_behind_a_proxy_is_not_the_proxys(streams: Streams, server: PlainServer) -> None:
    links = streams.links(proxies=asked_for(f"http://127.0.0.1:{server.address[1]}"))
    links.apply(Open(LINK, ("derp.test",), 443, Tls("derp.test")))
    streams.turn()
    proxy = server.accept()
    streams.until(lambda: not links._dials)
    proxy.recv(1000)
    proxy.sendall(b"HTTP/1.1 200 OK\r\n\r\nno TLS at all")
    assert streams.event(links, Closed).reason.startswith("tls: ")


def test_a_proxy_of_the_environment_is_spared_loopback(streams: Streams, server: PlainServer) -> None:
    links = streams.links(proxies=of_environment({"HTTP_PROXY": "http://127.0.0.1:1"}))
    streams.open(links, server.address)
    assert streams.event(links, Opened) == Opened(LINK)


def test_a_direct_link_goes_around_every_proxy(streams: Streams, server: PlainServer) -> None:
    links = streams.links(proxies=asked_for("http://127.0.0.1:1"))
    host, port = server.address
    links.apply(Open(LINK, (host,), port, direct=True))
    assert streams.event(links, Opened) == Opened(LINK)


def test_a_proxy_that_cannot_be_asked_is_not_gone_around(streams: Streams, server: PlainServer) -> None:
    links = streams.links(proxies=of_environment({"HTTPS_PROXY": "socks5://127.0.0.1:1"}))
    links.apply(Open(LINK, ("derp.test",), 443, Tls("derp.test")))
    assert streams.event(links, Closed).reason.startswith("proxy HTTPS_PROXY: must be http://")


# --- the network changes ----------------------------------------------------------------------------------------


def test_a_link_ends_when_the_machine_has_lost_its_address(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    links, listener = streams.links(), streams.listener()
    streams.open(links, listener)
    streams.event(links, Opened)
    own = ip_address("192.0.2.7")
    links.network_changed(Network())  # an address of loopback is never lost
    monkeypatch.setattr("tsnet.edge.io.links.own_address", lambda sock: own)
    for network in (Network(frozenset({own})), Network(silent=frozenset({own})), Network(is_complete=False)):
        links.network_changed(network)
    streams.turn()
    assert list(streams.of(links, Closed)) == []
    links.network_changed(Network())
    assert streams.event(links, Closed) == Closed(LINK, ADDRESS_LOST)


def test_the_own_address_of_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as sock:
        assert own_address(sock) == ip_address("127.0.0.1")
    assert own_address(sock) is None
    with socket.socket() as unbound:
        assert own_address(unbound) is None


def test_a_link_that_is_aborted_leaves_nothing_to_send_and_the_other_end_sees_a_reset(
    streams: Streams, server: PlainServer
) -> None:
    links = streams.links()
    streams.open(links, server.address)
    streams.event(links, Opened)
    other = server.accept()
    links.apply(Data(LINK, DATA))
    links.apply(Close(LINK, abort=True))
    links.apply(Close(LINK, abort=True))
    streams.turn(0.0)
    with pytest.raises(ConnectionResetError):
        drain(other)
    assert not links._channels
    assert not links._lingering


def drain(sock: socket.socket) -> None:
    while sock.recv(1 << 16):
        pass
