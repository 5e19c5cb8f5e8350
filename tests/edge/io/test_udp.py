"""The UDP port on loopback; a socket that refuses is a real one whose calls can be made to fail."""

from __future__ import annotations

import errno
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tsnet.base.addresses import UdpAddress, into_runs
from tsnet.base.network import Gateway, Network
from tsnet.base.unsent import Unsent
from tsnet.edge.io import udp
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.udp import AGAIN_AFTER, Runs, UdpSockets, as_address, bind_both, is_run, segment_size

V4, V6 = "127.0.0.1", "::1"


class FaultySocket(socket.socket):
    """A real socket; what `fail` returns for a call is raised instead of making it."""

    fail: Callable[[str, Any], OSError | None] = staticmethod(lambda call, data: None)

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        if error := FaultySocket.fail("sendmsg" if len(buffers) > 1 else "sendto", b"".join(buffers)):
            raise error
        return super().sendmsg(buffers, ancillary, flags, address)

    def sendto(self, data: Any, address: Any) -> int:  # type: ignore[override]
        if error := FaultySocket.fail("sendto", data):
            raise error
        return super().sendto(data, address)

    def recvmsg_into(self, buffers: Any, ancillary_size: int = 0, flags: int = 0) -> Any:
        if error := FaultySocket.fail("recv", b""):
            raise error
        return super().recvmsg_into(buffers, ancillary_size, flags)


class Faults:
    """Scripted failures: `once("sendmsg", EIO)` fails the next such call, `while_` until told otherwise."""

    def __init__(self) -> None:
        self.next: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.calls: list[tuple[str, int]] = []

    def __call__(self, call: str, data: bytes) -> OSError | None:
        self.calls.append((call, len(data)))
        number = self.next.pop(call, 0) or self.held.get(call, 0)
        return OSError(number, os.strerror(number)) if number else None


@pytest.fixture
def faults() -> Iterator[Faults]:
    faults = Faults()
    FaultySocket.fail = faults
    yield faults
    FaultySocket.fail = staticmethod(lambda call, data: None)


class Bench:
    """A reactor and the ports opened on it; `ready` counts each port's on_ready."""

    def __init__(self) -> None:
        self.reactor = Reactor(time.monotonic)
        self.ports: list[UdpSockets] = []
        self.ready: list[int] = []

    def open(self, port: int = 0, **options: Any) -> UdpSockets:
        number = len(self.ports)
        self.ready.append(0)

        def on_ready() -> None:
            self.ready[number] += 1

        opened = UdpSockets(self.reactor, port, on_ready, **options)
        self.ports.append(opened)
        return opened

    def collect(self, port: UdpSockets, count: int) -> Runs:
        """Wait until the port has given `count` datagrams."""
        runs: Runs = []
        until = time.monotonic() + 5
        while sum(len(run) for _, run in runs) < count:
            assert time.monotonic() < until, f"only {sum(len(run) for _, run in runs)} of {count} datagrams"
            self.reactor.wait(until)
            runs += port.receive()
        return runs

    def close(self) -> None:
        for port in self.ports:
            port.close()
        self.reactor.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def datagrams_of(runs: Runs) -> list[bytes]:
    return [datagram for _, run in runs for datagram in run]


def numbered(count: int, size: int = 1312, last: int | None = None) -> list[bytes]:
    sizes = [size] * (count - 1) + [size if last is None else last]
    return [number.to_bytes(2, "big") * (length // 2) for number, length in enumerate(sizes)]


has_gso = bool(sys.platform == "linux")
OFFLOADS = [(True, True), (True, False), (False, True), (False, False)]


# --- both ways --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gso", "gro"), OFFLOADS)
@pytest.mark.parametrize("host", [V4, V6])
def test_a_run_arrives_whole_and_in_order(bench: Bench, host: str, gso: bool, gro: bool) -> None:
    sender, receiver = bench.open(gso=gso), bench.open(gro=gro)
    if host == V6 and not ((sender._v6 is not None) and (receiver._v6 is not None)):
        pytest.skip("no IPv6 here")
    run = numbered(49, last=100)
    assert sender.send(UdpAddress(host, receiver.local_port), run)
    runs = bench.collect(receiver, 49)
    assert datagrams_of(runs) == run
    assert {source for source, _ in runs} == {UdpAddress(host, sender.local_port)}
    assert sender.dropped == receiver.dropped == {}


@pytest.mark.skipif(not has_gso, reason="UDP_SEGMENT and UDP_GRO are Linux's")
def test_with_both_offloads_a_run_keeps_its_shape(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open()
    run = numbered(49, last=100)
    sender.send(UdpAddress(V4, receiver.local_port), run)
    assert bench.collect(receiver, 49) == [(UdpAddress(V4, sender.local_port), run)]


@pytest.mark.parametrize(("gso", "gro"), OFFLOADS)
def test_offloads_may_be_turned_off_and_on_and_stay_so_when_bound_anew(bench: Bench, gso: bool, gro: bool) -> None:
    sender, receiver = bench.open(), bench.open()
    run = numbered(20, last=100)
    for wanted in ((gso, gro), (True, True)):
        sender.set_offload(gso=wanted[0], gro=wanted[1])
        receiver.set_offload(gso=wanted[0], gro=wanted[1])
        receiver.rebind()
        assert all(half.gso is (wanted[0] and has_gso) for half in (*sender._halves, *receiver._halves))
        assert all(bool(half._ancillary_size) is (wanted[1] and has_gso) for half in receiver._halves)
        sender.send(UdpAddress(V4, receiver.local_port), run)
        assert datagrams_of(bench.collect(receiver, 20)) == run


def test_an_offload_that_the_node_is_to_do_without_stays_off(bench: Bench) -> None:
    port = bench.open(gso=False, gro=False)
    port.set_offload(gso=True, gro=True)
    assert not any(half.gso or half._ancillary_size for half in port._halves)


@pytest.mark.parametrize("gro", [True, False])
def test_single_datagrams_of_one_source_become_runs(bench: Bench, gro: bool) -> None:
    sender, receiver = bench.open(), bench.open(gro=gro)
    for datagram in numbered(10, size=200, last=50):
        sender.send(UdpAddress(V4, receiver.local_port), [datagram])
    assert bench.collect(receiver, 10) == [(UdpAddress(V4, sender.local_port), numbered(10, size=200, last=50))]


def test_sources_are_kept_apart_and_in_order(bench: Bench) -> None:
    left, right, receiver = bench.open(), bench.open(), bench.open()
    to = UdpAddress(V4, receiver.local_port)
    for port in (left, right, left):
        port.send(to, [b"x"])
    sources = [source.port for source, _ in bench.collect(receiver, 3)]
    assert sources == [left.local_port, right.local_port, left.local_port]


def test_a_batch_of_unequal_sizes_is_cut_into_runs(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open()
    mixed = numbered(3, size=100) + numbered(2, size=300) + numbered(4, size=80, last=20) + [b"x" * 5]
    assert sender.send(UdpAddress(V4, receiver.local_port), mixed)
    assert datagrams_of(bench.collect(receiver, len(mixed))) == mixed


def test_empty_and_largest_datagrams(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open()
    to = UdpAddress(V4, receiver.local_port)
    assert sender.send(to, [])
    assert sender.send(to, [b""])
    assert sender.send(to, [bytes(65_507)])
    assert datagrams_of(bench.collect(receiver, 2)) == [b"", bytes(65_507)]


def test_a_mapped_address_goes_out_by_v4(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open()
    sender.send(UdpAddress(f"::ffff:{V4}", receiver.local_port), [b"x"])
    assert bench.collect(receiver, 1) == [(UdpAddress(V4, sender.local_port), [b"x"])]


# --- bounds -----------------------------------------------------------------------------------------------------


def test_receive_is_bounded_by_calls(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open(gro=False)
    count = udp.MAX_READS + 20
    for _ in range(count):
        sender.send(UdpAddress(V4, receiver.local_port), [b"x"])
    bench.reactor.wait(math.inf)
    assert len(datagrams_of(receiver.receive())) == udp.MAX_READS
    bench.reactor.wait(math.inf)  # still readable: says so again
    assert len(datagrams_of(receiver.receive())) == 20
    assert bench.ready[1] == 2


def test_receive_is_bounded_by_bytes(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open()
    if receiver._halves[0]._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 4 * udp.MAX_READ_BYTES:
        pytest.skip("the socket's buffer is too small to hold more than one batch")
    for _ in range(20):
        sender.send(UdpAddress(V4, receiver.local_port), [bytes(60_000)])
    bench.reactor.wait(math.inf)
    taken = sum(map(len, datagrams_of(receiver.receive())))
    assert udp.MAX_READ_BYTES <= taken < udp.MAX_READ_BYTES + udp.MAX_DATAGRAM


def test_nothing_there_costs_no_call(bench: Bench, faults: Faults) -> None:
    port = bench.open(socket_type=FaultySocket)
    assert port.receive() == []
    assert faults.calls == []


def test_who_comes_alone_again_and_again_costs_one_call(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(), bench.open(socket_type=FaultySocket)
    calls: list[int] = []
    for number in range(3 * (udp.LONELY + udp.TRUSTED)):
        sender.send(UdpAddress(V4, receiver.local_port), [bytes((number,))])
        faults.calls.clear()
        assert datagrams_of(bench.collect(receiver, 1)) == [bytes((number,))]
        calls.append(len(faults.calls))
    assert set(calls) == {1, 2}
    assert calls.count(2) <= 3 * (udp.LONELY + 1)


def test_many_that_follow_one_that_came_alone_come_together(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open(gro=False)
    for _ in range(udp.LONELY):
        sender.send(UdpAddress(V4, receiver.local_port), [b"alone"])
        bench.collect(receiver, 1)
    for number in range(60):
        sender.send(UdpAddress(V4, receiver.local_port), [bytes((number,))])
    batches: list[int] = []
    got: list[bytes] = []
    while len(got) < 60:
        bench.reactor.wait(math.inf)
        got += (batch := datagrams_of(receiver.receive()))
        batches.append(len(batch))
    assert got == [bytes((number,)) for number in range(60)]
    assert batches == [1] * (udp.TRUSTED + 1) + [60 - udp.TRUSTED - 1]


# --- no room ----------------------------------------------------------------------------------------------------


def test_a_refused_run_is_kept_and_flushed_when_writable(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(socket_type=FaultySocket), bench.open()
    to, run = UdpAddress(V4, receiver.local_port), numbered(8, last=10)
    faults.held = {"sendmsg": errno.EAGAIN, "sendto": errno.EAGAIN}
    assert not sender.send(to, run)
    assert not sender.has_room
    assert not sender.send(to, [b"after"])
    bench.reactor.wait(math.inf)
    assert not sender.has_room
    assert bench.ready[0] == 0
    faults.held = {}
    received = bench.collect(receiver, 9)
    assert datagrams_of(received) == [*run, b"after"]
    assert sender.has_room
    assert bench.ready[0] == 1
    assert sender.send(to, [b"x"])
    assert sender.dropped == {}


def test_what_a_plain_send_began_is_finished_not_repeated(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(socket_type=FaultySocket, gso=False), bench.open()
    run = numbered(6)
    calls: list[str] = []

    def third_blocks(call: str, data: bytes) -> OSError | None:
        calls.append(call)
        return BlockingIOError(errno.EAGAIN, "blocked") if len(calls) == 3 else None

    FaultySocket.fail = third_blocks
    assert not sender.send(UdpAddress(V4, receiver.local_port), run)
    assert datagrams_of(bench.collect(receiver, 6)) == run
    assert len(calls) == 7


def test_a_blocked_v4_says_no_room_though_v6_goes_on(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(socket_type=FaultySocket), bench.open()
    if not (sender._v6 is not None):
        pytest.skip("no IPv6 here")
    faults.next = {"sendto": errno.EAGAIN}
    assert not sender.send(UdpAddress(V4, receiver.local_port), [b"four"])
    assert sender.send(UdpAddress(V6, receiver.local_port), [b"six"])
    assert not sender.has_room
    assert sorted(datagrams_of(bench.collect(receiver, 2))) == [b"four", b"six"]
    assert sender.has_room


def test_the_backlog_is_bounded_and_counts_what_it_cannot_hold(bench: Bench, faults: Faults) -> None:
    sender = bench.open(socket_type=FaultySocket)
    faults.held = {"sendto": errno.EAGAIN, "sendmsg": errno.EAGAIN}
    size = 60_000
    for _ in range(udp.MAX_BACKLOG_BYTES // size + 3):
        sender.send(UdpAddress(V4, 9), [bytes(size)])
    assert sender.dropped == {"backlog full": 3}


# --- errors -----------------------------------------------------------------------------------------------------


def test_eio_turns_segmentation_off_for_good(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(socket_type=FaultySocket), bench.open()
    if not sender._halves[0].gso:
        pytest.skip("no UDP_SEGMENT here")
    to, run = UdpAddress(V4, receiver.local_port), numbered(5)
    faults.next = {"sendmsg": errno.EIO}
    assert sender.send(to, run)
    assert sender.send(to, run)
    assert [call for call, _ in faults.calls if call != "recv"] == ["sendmsg"] + ["sendto"] * 10
    assert datagrams_of(bench.collect(receiver, 10)) == run + run
    assert sender.dropped == {}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EMSGSIZE])
def test_a_segment_too_large_for_a_path_is_that_hosts_matter(bench: Bench, faults: Faults, number: int) -> None:
    sender, receiver = bench.open(socket_type=FaultySocket), bench.open()
    if not (sender._halves[0].gso and sender._v6):
        pytest.skip("no UDP_SEGMENT or no IPv6 here")
    run = numbered(5)
    faults.next = {"sendmsg": number}
    assert sender.send(UdpAddress(V4, receiver.local_port), run)
    assert sender.send(UdpAddress(V4, receiver.local_port), run)
    assert sender.send(UdpAddress("127.0.0.2", receiver.local_port), run)
    assert [call for call, _ in faults.calls if call != "recv"] == ["sendmsg"] + ["sendto"] * 10 + ["sendmsg"]
    assert len(datagrams_of(bench.collect(receiver, 15))) == 15


def test_the_hosts_without_segmentation_are_bounded(bench: Bench, faults: Faults) -> None:
    sender = bench.open(socket_type=FaultySocket)
    faults.held = {"sendmsg": errno.EINVAL}
    for number in range(3 * udp.MAX_PLAIN_HOSTS):
        sender.send(UdpAddress(f"127.1.{number // 250}.{number % 250 + 1}", 9), [b"x", b"y"])
    assert len(sender._halves[0]._plain_hosts) <= udp.MAX_PLAIN_HOSTS


def test_the_error_of_an_earlier_datagram_costs_a_second_try(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(socket_type=FaultySocket), bench.open()
    faults.next = {"sendto": errno.ECONNREFUSED}
    assert sender.send(UdpAddress(V4, receiver.local_port), [b"x"])
    assert datagrams_of(bench.collect(receiver, 1)) == [b"x"]
    assert sender.dropped == {}


def test_an_unreachable_destination_is_counted_and_never_raises(bench: Bench, faults: Faults) -> None:
    sender = bench.open(socket_type=FaultySocket)
    faults.held = {"sendto": errno.ENETUNREACH}
    assert sender.send(UdpAddress(V4, 9), [b"x"])
    assert sender.has_room
    assert sender.dropped == {"send: ENETUNREACH": 1}


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EHOSTUNREACH, [0]),
        (errno.EPERM, [0]),
        (errno.EMSGSIZE, [900]),
        (errno.ENOBUFS, []),
        (errno.ECONNREFUSED, []),
    ],
)
def test_a_refusal_says_where_nothing_or_nothing_so_large_can_go(
    bench: Bench, faults: Faults, number: int, told: list[int]
) -> None:
    sender = bench.open(socket_type=FaultySocket, gso=False)
    there = UdpAddress(V4, 9)
    faults.held["sendto"] = number
    sender.send(there, [bytes(1312), bytes(900)])
    assert sender.take_unsent() == [Unsent(there, size) for size in told]
    assert sender.take_unsent() == []
    assert sender.dropped[f"send: {errno.errorcode[number]}"] == 2


def dont_fragment(port: UdpSockets) -> list[int]:
    """What the system says of both sockets."""
    level = {socket.AF_INET: (0, 10), socket.AF_INET6: (41, 23)}
    return [half._socket.getsockopt(*level[half._socket.family]) for half in port._halves]


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
def test_dont_fragment_is_set_on_request_and_stays_when_the_port_is_bound_anew(bench: Bench) -> None:
    port = bench.open()
    before = dont_fragment(port)
    assert port.set_dont_fragment(wanted=True)
    assert dont_fragment(port) == [2] * len(before)
    port.rebind()
    assert dont_fragment(port) == [2] * len(before)
    assert port.set_dont_fragment(wanted=False)
    assert dont_fragment(port) == [1] * len(before)


def test_a_system_that_cannot_forbid_fragments_is_left_as_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    port = bench.open()
    monkeypatch.setattr(udp, "try_option", lambda *_arguments: False)
    assert not port.set_dont_fragment(wanted=True)
    port.rebind()
    assert not port._dont_fragment


def test_without_a_socket_of_a_family_nothing_can_go_there(bench: Bench) -> None:
    sender = bench.open(host=V4)
    sender.send(UdpAddress("2001:db8::1", 9), [b"x"])
    assert sender.take_unsent() == [Unsent(UdpAddress("2001:db8::1", 9))]


def test_port_nought_is_counted_and_never_raises(bench: Bench) -> None:
    sender = bench.open()
    assert sender.send(UdpAddress(V4, 0), [b"x", b"y"])
    assert sender.dropped == {"send: EINVAL": 2}


def test_an_error_on_receive_does_not_end_the_batch(bench: Bench, faults: Faults) -> None:
    sender, receiver = bench.open(), bench.open(socket_type=FaultySocket)
    sender.send(UdpAddress(V4, receiver.local_port), [b"x"])
    faults.next = {"recv": errno.ECONNREFUSED}
    assert datagrams_of(bench.collect(receiver, 1)) == [b"x"]
    assert receiver.dropped == {"receive: ECONNREFUSED": 1}


def test_a_port_that_nobody_has_gives_no_error(bench: Bench) -> None:
    sender, receiver = bench.open(), bench.open()
    gone = bench.open()
    to = UdpAddress(V4, gone.local_port)
    gone.close()
    for _ in range(3):
        assert sender.send(to, [b"x"])
    sender.send(UdpAddress(V4, receiver.local_port), [b"y"])
    assert datagrams_of(bench.collect(receiver, 1)) == [b"y"]


# --- opening ----------------------------------------------------------------------------------------------------


def test_both_families_have_one_number(bench: Bench) -> None:
    port = bench.open()
    if port._v6 is None:
        pytest.skip("no IPv6 here")
    assert port._v6._socket.getsockname()[1] == port.local_port


@pytest.mark.parametrize("host", [V4, V6])
def test_a_host_is_the_only_address_that_is_bound(bench: Bench, host: str) -> None:
    if host == V6 and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    port, sender = bench.open(host=host), bench.open()
    (half,) = port._halves
    assert half._socket.getsockname()[:2] == (host, port.local_port)
    sender.send(UdpAddress(host, port.local_port), [b"x"])
    ((source, datagrams),) = bench.collect(port, 1)
    assert datagrams == [b"x"]
    port.send(source, [b"y"])
    assert datagrams_of(bench.collect(sender, 1)) == [b"y"]
    other, family = (V6, 6) if host == V4 else (V4, 4)
    assert port.send(UdpAddress(other, 9), [b"x"])
    assert port.dropped == {f"send: no IPv{family}": 1}


def test_a_given_number_that_is_taken_is_an_error(bench: Bench) -> None:
    taken = bench.open().local_port
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        bench.open(taken)


class NoV6(socket.socket):
    def __init__(self, family: int = socket.AF_INET, *args: Any, **options: Any) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        super().__init__(family, *args, **options)


def test_without_v6_there_is_v4_alone(bench: Bench) -> None:
    port = bench.open(socket_type=NoV6)
    assert not (port._v6 is not None)
    assert port.send(UdpAddress(V6, 9), [b"x", b"y"])
    assert port.dropped == {"send: no IPv6": 2}


def test_a_v6_number_that_a_stranger_has_moves_both() -> None:
    tries: list[int] = []

    class Taken(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                tries.append(address[1])
                if len(tries) < 3:
                    raise OSError(errno.EADDRINUSE, "taken")
            super().bind(address)

    try:
        sockets = bind_both(0, Taken)
    finally:
        assert len(tries) >= 1
    numbers = {sock.getsockname()[1] for sock in sockets}
    for sock in sockets:
        sock.close()
    assert len(numbers) == 1
    assert len(tries) == 3


def test_the_buffers_are_larger_than_the_systems_default(bench: Bench) -> None:
    ours = bench.open()._halves[0]._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        assert ours >= plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


# --- the small functions ----------------------------------------------------------------------------------------


def test_is_run_agrees_with_into_runs() -> None:
    for sizes in (
        [5],
        [5, 5],
        [5, 4],
        [4, 5],
        [5, 4, 5],
        [5, 5, 4, 4],
        [5] * 49,
        [9, 9, 0],
        [1400] * 46,
        [1400] * 47,
    ):
        packets = [bytes(size) for size in sizes]
        assert is_run(packets) == (len(into_runs(None, packets)) == 1), sizes


def test_segment_size_reads_two_and_four_bytes_and_skips_strangers() -> None:
    order = sys.byteorder
    assert segment_size([(17, 104, (1312).to_bytes(4, order))]) == 1312
    assert segment_size([(1, 2, b"x"), (17, 104, (1312).to_bytes(2, order))]) == 1312
    assert segment_size([(17, 99, b"\0\0\0\5")]) == udp.MAX_DATAGRAM


def test_as_address_unmaps_only_mapped_addresses() -> None:
    assert as_address(("::ffff:10.0.0.1", 5)) == UdpAddress("10.0.0.1", 5)
    assert as_address(("::ffff:a:b", 5)) == UdpAddress("::ffff:a:b", 5)
    assert as_address(("10.0.0.1", 5)) == UdpAddress("10.0.0.1", 5)


# --- the network changes ----------------------------------------------------------------------------------------


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(time.monotonic)
    yield reactor
    reactor.close()


WAY = Network(gateway_v4=Gateway(ip_address("192.0.2.1"), "eth0"))


def test_a_port_on_all_addresses_suits_every_network_while_its_sends_succeed(reactor: Reactor) -> None:
    port = UdpSockets(reactor, 0, lambda: None)
    port.send(UdpAddress(V4, port.local_port), [b"x"])
    assert port.suits(Network())
    assert port.suits(WAY)
    port.close()


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN])
def test_a_port_whose_sends_fail_suits_no_network_with_a_way_until_it_is_bound_anew(
    reactor: Reactor, faults: Faults, number: int
) -> None:
    port = UdpSockets(reactor, 0, lambda: None, socket_type=FaultySocket)
    local_port = port.local_port
    faults.held["sendto"] = number
    port.send(UdpAddress(V4, 9), [b"x"])
    faults.held.clear()
    assert port.suits(Network())  # there is no way, so no wonder
    assert not port.suits(WAY)
    port.rebind()
    assert port.local_port == local_port
    assert port.suits(WAY)
    assert port.send(UdpAddress(V4, local_port), [b"itself"])
    runs: Runs = []
    while not runs:
        reactor.wait(time.monotonic() + 5)
        runs += port.receive()
    assert runs == [(UdpAddress(V4, local_port), [b"itself"])]
    port.close()


def test_a_refusal_of_the_destination_says_nothing_about_the_port(reactor: Reactor, faults: Faults) -> None:
    port = UdpSockets(reactor, 0, lambda: None, socket_type=FaultySocket)
    faults.held["sendto"] = errno.ECONNREFUSED
    port.send(UdpAddress(V4, 9), [b"x"])
    assert port.suits(WAY)
    port.close()


def test_a_port_on_one_address_suits_networks_with_that_address(reactor: Reactor) -> None:
    port = UdpSockets(reactor, 0, lambda: None, host="127.0.0.1")
    assert port.suits(Network())
    port._host = "192.0.2.7"
    assert not port.suits(Network())
    assert port.suits(Network(frozenset({ip_address("192.0.2.7")})))
    port.rebind()  # which this machine cannot do: it has no such address
    assert not port.suits(Network(frozenset({ip_address("192.0.2.7")})))
    assert port.has_room
    assert port.receive() == []
    assert port.send(UdpAddress(V4, 9), [b"x"])
    assert port.dropped["rebind: EADDRNOTAVAIL"] == 2
    assert port.dropped["send: no IPv4"] == 1
    port._host = "127.0.0.1"  # it is back
    port.rebind()
    assert port.suits(Network())
    port.close()


class ScarceSocket(FaultySocket):
    """None can be made while `number` is set."""

    number = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if self.number:
            raise OSError(self.number, "too many")
        super().__init__(*arguments, **options)


def test_a_port_that_cannot_be_bound_anew_for_want_of_a_descriptor_is_bound_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    reactor = Reactor(lambda: now)
    port = UdpSockets(reactor, 0, lambda: None, host=V4, socket_type=ScarceSocket)
    before = port.local_port
    monkeypatch.setattr(ScarceSocket, "number", errno.EMFILE)
    port.rebind()
    assert port.send(UdpAddress(V4, 9), [b"x"])
    now += AGAIN_AFTER
    reactor.wait(-math.inf)
    assert port.dropped == {"rebind: EMFILE": 2, "send: no IPv4": 1}
    monkeypatch.setattr(ScarceSocket, "number", 0)
    now += AGAIN_AFTER
    reactor.wait(-math.inf)
    assert port.suits(Network())
    assert port.local_port == before
    port.close()
    reactor.close()


def test_a_port_is_bound_anew_at_the_number_that_is_given(reactor: Reactor) -> None:
    port, other = UdpSockets(reactor, 0, lambda: None, host=V4), UdpSockets(reactor, 0, lambda: None, host=V4)
    free = other.local_port
    other.close()
    port.rebind(free)
    assert port.local_port == free
    port.rebind()
    assert port.local_port == free
    port.rebind(0)
    assert port.local_port != 0
    port.close()


def test_a_port_that_is_closed_is_not_bound_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = Reactor(lambda: 1000.0)
    port = UdpSockets(reactor, 0, lambda: None, host=V4, socket_type=ScarceSocket)
    monkeypatch.setattr(ScarceSocket, "number", errno.EMFILE)
    port.rebind()
    port.close()
    assert reactor.next_event() == math.inf
    reactor.close()


def test_a_number_that_somebody_took_meanwhile_gives_way_to_another(reactor: Reactor) -> None:
    port = UdpSockets(reactor, 0, lambda: None, host=V4)
    before = port.local_port
    port.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((V4, before))
        port.rebind()
    assert port.local_port not in (0, before)
    port.close()
