"""Our device and stack against wireguard-go and Linux: both roles, v4 and v6, inside and outside.

The kernel owns 100.64.0.1 and fd7a::1 behind wireguard-go's TUN device; our stack owns .2 and ::2 behind our device.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any

import pytest

from netstack.tcp.connection import TcpConnection
from tests.attacks.wireguard import noise
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.tunnel import COOKIE, INITIATION, KEEPALIVE_SIZE, RESPONSE, TRANSPORT, Seen, Tunnel
from tests.interop.harness.wireguard import WireGuardGo, ping
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.wireguard.constants import MAX_STAGED_HANDSHAKES, UNDER_LOAD_HANDSHAKES

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

MIB = 1 << 20
KERNEL = {"v4": "100.64.0.1", "v6": "fd7a::1"}
OURS = {"v4": "100.64.0.2", "v6": "fd7a::2"}
WIRE = {"v4": "127.0.0.1", "v6": "::1"}
THEIR_PRIVATE = NodePrivateKey(b"\x21" * 32)
OUR_PRIVATE = NodePrivateKey(b"\x42" * 32)
THEIRS, US = node_public(THEIR_PRIVATE), node_public(OUR_PRIVATE)
PORT = 51820
NO_MAC2 = bytes(16)

both_families = pytest.mark.parametrize("family", ["v4", "v6"])
both_roles = pytest.mark.parametrize("initiator", ["ours", "theirs"])


@pytest.fixture
def theirs(scene: Scene) -> Iterator[WireGuardGo]:
    need("wireguard", "tun")
    addresses = [f"{KERNEL['v4']}/32", f"{KERNEL['v6']}/128"]
    with WireGuardGo(scene, private_key=THEIR_PRIVATE.reveal(), addresses=addresses, listen_port=PORT) as wireguard:
        yield wireguard


def connect(theirs: WireGuardGo, wire: str = "v4", **options: Any) -> Tunnel:
    """Both know where the other is; nobody has spoken yet."""
    tunnel = Tunnel(
        OUR_PRIVATE, THEIRS, addresses=OURS.values(), local=WIRE[wire], endpoint=(WIRE[wire], PORT), **options
    )
    endpoint = f"[{WIRE[wire]}]:{tunnel.port}" if wire == "v6" else f"{WIRE[wire]}:{tunnel.port}"
    psk = options.get("psk") or b""
    theirs.add_peer(US, allowed_ips=[f"{OURS['v4']}/32", f"{OURS['v6']}/128"], endpoint=endpoint, preshared_key=psk)
    return tunnel


class Beside:
    """Runs the kernel's half in a thread of its own, inside the scene, while the test turns ours."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._future: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:
            self._future.set_exception(error)

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Any:
        self._thread.join()
        return self._future.result()


def we_ping(tunnel: Tunnel, family: str = "v4", timeout: float = 10.0) -> None:
    endpoint = tunnel.stack.ping(ip_address(KERNEL[family]))
    endpoint.send(tunnel.now, payload=b"x" * 56)
    tunnel.run(lambda: endpoint.readable, timeout=timeout)
    reply = endpoint.receive()
    assert reply is not None
    endpoint.close()


def they_ping(tunnel: Tunnel, family: str = "v4", timeout: float = 10.0) -> float:
    pinging = Beside(lambda: ping(OURS[family], timeout=timeout))
    tunnel.run(pinging.done, timeout=timeout + 1)
    return float(pinging.result())


# --- pings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["v4", "v6"])
@both_families
@both_roles
def test_ping(theirs: WireGuardGo, wire: str, family: str, initiator: str) -> None:
    with connect(theirs, wire) as tunnel:
        first, second = (we_ping, they_ping) if initiator == "ours" else (they_ping, we_ping)
        first(tunnel, family)
        second(tunnel, family)
        assert [fact.is_initiator for fact in tunnel.established()] == [initiator == "ours"]
        assert len(tunnel.seen(INITIATION, ours=initiator == "ours")) == 1
        assert not tunnel.seen(INITIATION, ours=initiator != "ours")
        assert not tunnel.device.dropped
        assert theirs.peer(US).last_handshake > 0


@both_roles
def test_a_pre_shared_key(theirs: WireGuardGo, initiator: str) -> None:
    with connect(theirs, psk=b"\x77" * 32) as tunnel:
        (we_ping if initiator == "ours" else they_ping)(tunnel)
        assert len(tunnel.established()) == 1


@pytest.mark.parametrize("size", [8, 1000, 1232])
def test_packets_of_any_size_up_to_the_mtu(theirs: WireGuardGo, size: int) -> None:
    with connect(theirs) as tunnel:
        pinging = Beside(lambda: [ping(OURS[family], size=size) for family in ("v4", "v6")])
        tunnel.run(pinging.done)
        assert len(pinging.result()) == 2


def test_when_initiations_cross_both_come_through(theirs: WireGuardGo) -> None:
    """wireguard-go drops its own handshake for ours; we keep ours while we answer, so that one of them completes."""
    with connect(theirs) as tunnel:
        pinging = Beside(lambda: ping(OURS["v4"], timeout=10))
        tunnel.wait_unread()
        endpoint = tunnel.stack.ping(ip_address(KERNEL["v4"]))
        endpoint.send(tunnel.now)
        tunnel.now = time.monotonic()
        tunnel.transmit()
        time.sleep(0.1)  # wireguard-go answers ours; its own still lies in our socket
        tunnel.run(lambda: endpoint.readable and pinging.done())
        assert pinging.result() < 3
        assert len(tunnel.seen(INITIATION, ours=True)) == len(tunnel.seen(INITIATION, ours=False)) == 1


def test_when_we_want_to_send_in_the_turn_that_reads_their_initiation(theirs: WireGuardGo) -> None:
    with connect(theirs) as tunnel:
        pinging = Beside(lambda: ping(OURS["v4"], timeout=10))
        tunnel.wait_unread()
        endpoint = tunnel.stack.ping(ip_address(KERNEL["v4"]))
        endpoint.send(tunnel.now)
        tunnel.run(lambda: endpoint.readable and pinging.done())
        assert pinging.result() < 3
        assert not tunnel.seen(INITIATION, ours=True)


def test_rekeys_that_cross_lose_nothing_that_wireguard_go_sends_meanwhile(theirs: WireGuardGo) -> None:
    """It initiates when nobody has answered for 15 s. Ours passes its on the way, and it answers; until we confirm
    the new session it sends by the old one, and that comes behind its answer."""
    with connect(theirs) as tunnel, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        we_ping(tunnel)
        kernel.bind((KERNEL["v4"], 9))
        ours = tunnel.stack.open_udp(9)
        received: list[bytes] = []

        def send(*numbers: int) -> None:
            for number in numbers:
                kernel.sendto(bytes([number]), (OURS["v4"], 9))

        def count() -> int:
            while (datagram := ours.receive()) is not None:
                received.append(datagram.payload)
            return len(received)

        send(0)
        tunnel.run(lambda: count() == 1)
        tunnel.wait_unread(20)  # meanwhile we say nothing; this is its initiation
        send(1, 2, 3)
        tunnel.now = time.monotonic()
        tunnel.device.suspended(tunnel.now)
        tunnel.device.send_keepalive(THEIRS, tunnel.now)
        tunnel.transmit()
        time.sleep(0.2)  # it answers ours
        send(4, 5, 6)
        time.sleep(0.2)
        tunnel.batch = 1
        tunnel.run(lambda: count() == 7)
        assert received == [bytes([number]) for number in range(7)]
        assert len(tunnel.seen(INITIATION, ours=False)) == 1
        assert len(tunnel.seen(RESPONSE, ours=False)) == len(tunnel.seen(INITIATION, ours=True)) == 2
        assert not tunnel.device.dropped
        we_ping(tunnel, timeout=2)
        they_ping(tunnel, timeout=2)


def test_we_answer_who_comes_from_anywhere(theirs: WireGuardGo) -> None:
    """Our side knows no endpoint: the handshake tells where the answer goes."""
    with connect(theirs) as tunnel:
        tunnel.endpoint = None
        they_ping(tunnel)
        we_ping(tunnel)


def test_a_restarted_wireguard_go_is_found_again_after_a_reset(theirs: WireGuardGo) -> None:
    with connect(theirs) as tunnel:
        we_ping(tunnel)
        theirs.remove_peer(US)
        theirs.add_peer(US, allowed_ips=[f"{OURS['v4']}/32"], endpoint=f"127.0.0.1:{tunnel.port}")
        tunnel.device.reset_peer(THEIRS, tunnel.now)
        we_ping(tunnel, timeout=2)


# --- bulk -------------------------------------------------------------------------------------------------------


class Bulk:
    """64 MiB of TCP each way at once on one connection; each half ends with a FIN; hashes of both ways."""

    SIZE = 64 * MIB

    def __init__(self, tunnel: Tunnel, connection: TcpConnection) -> None:
        self.tunnel, self.connection = tunnel, connection
        self.left = memoryview(random.Random("ours").randbytes(self.SIZE))
        self.received, self.count = hashlib.sha256(), 0

    def step(self) -> bool:
        """Move what can be moved; whether all is done."""
        now = self.tunnel.now
        if self.connection.error:
            raise ConnectionError(self.connection.error)
        if self.connection.connected and self.left:
            written = self.connection.write(self.left[: 1 << 18], now)
            self.left = self.left[written:]
            if not self.left:
                self.connection.shutdown_write(now)
        while self.connection.readable and (data := self.connection.read()):
            self.received.update(data)
            self.count += len(data)
        return not self.left and self.connection.eof and self.count == self.SIZE


def send_all(stream: socket.socket) -> None:
    stream.sendall(random.Random("kernel").randbytes(Bulk.SIZE))
    stream.shutdown(socket.SHUT_WR)


def kernel_half(stream: socket.socket) -> str:
    """Send its 64 MiB and take ours, at once. Returns the hash of ours."""
    with stream:
        stream.settimeout(40)
        sending = Beside(lambda: send_all(stream))
        digest = hashlib.sha256()
        while data := stream.recv(1 << 18):
            digest.update(data)
        sending.result()
        return digest.hexdigest()


@pytest.mark.parametrize(("family", "initiator"), [("v4", "ours"), ("v6", "theirs")])
def test_64_mib_of_tcp_each_way_against_linux(theirs: WireGuardGo, family: str, initiator: str) -> None:
    with connect(theirs, family) as tunnel:
        with contextlib.ExitStack() as sockets:
            if initiator == "ours":
                version = socket.AF_INET6 if family == "v6" else socket.AF_INET
                listening = sockets.enter_context(socket.create_server((KERNEL[family], 7), family=version))
                kernel = Beside(lambda: kernel_half(listening.accept()[0]))
                connection = tunnel.stack.connect(ip_address(KERNEL[family]), 7, tunnel.now)
            else:
                listener = tunnel.stack.listen(7)
                kernel = Beside(lambda: kernel_half(socket.create_connection((OURS[family], 7), timeout=10)))
                tunnel.run(lambda: listener.readable)
                accepted = listener.accept()
                assert accepted is not None
                connection = accepted
            bulk = Bulk(tunnel, connection)
            tunnel.run(bulk.step, timeout=50)
            tunnel.run(kernel.done, timeout=10)
            assert kernel.result() == hashlib.sha256(random.Random("ours").randbytes(Bulk.SIZE)).hexdigest()
        expected = hashlib.sha256(random.Random("kernel").randbytes(Bulk.SIZE)).hexdigest()
        assert bulk.received.hexdigest() == expected
        assert [fact.is_initiator for fact in tunnel.established()] == [initiator == "ours"]
        assert tunnel.device.dropped["forged"] == tunnel.device.dropped["replayed"] == 0


# --- keepalives and roaming -------------------------------------------------------------------------------------


def test_keepalives_answer_silence_both_ways(theirs: WireGuardGo) -> None:
    """A packet that nobody answers: after ten seconds the receiver says that it lives, and no new handshake comes."""
    with connect(theirs) as tunnel, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        we_ping(tunnel)
        kernel.bind((KERNEL["v4"], 9))
        ours = tunnel.stack.open_udp(9)
        theirs_before, start = theirs.peer(US), time.monotonic()
        ours.send(b"quiet", tunnel.now, ip_address(KERNEL["v4"]), 9)
        tunnel.run(lambda: tunnel.batches[-1][0] > start, timeout=12)
        assert tunnel.batches[-1][1] == 0
        assert 9.5 < tunnel.batches[-1][0] - start < 11
        kernel.sendto(b"quiet", (OURS["v4"], 9))
        tunnel.run(lambda: ours.readable)
        heard = tunnel.now
        ours_sent = len(tunnel.log)
        tunnel.run(lambda: any(seen.ours for seen in tunnel.log[ours_sent:]), timeout=12)
        (answer,) = [seen for seen in tunnel.log[ours_sent:] if seen.ours]
        assert (answer.kind, answer.size) == (TRANSPORT, KEEPALIVE_SIZE)
        assert 9.9 < answer.at - heard < 10.5
        tunnel.run(lambda: theirs.peer(US).received > theirs_before.received, timeout=2)
        assert len(tunnel.established()) == 1


def test_persistent_keepalives_of_theirs_arrive(theirs: WireGuardGo) -> None:
    with connect(theirs) as tunnel:
        they_ping(tunnel)
        theirs.set(f"public_key={US.hex()}", "persistent_keepalive_interval=1")
        before = len(tunnel.batches)
        tunnel.run(lambda: len(tunnel.batches) >= before + 3, timeout=6)
        assert all(packets == 0 for _, packets in tunnel.batches[before:])


def test_persistent_keepalives_of_ours_arrive(theirs: WireGuardGo) -> None:
    with connect(theirs, persistent_keepalive=0.5) as tunnel:
        we_ping(tunnel)
        before = theirs.peer(US).received
        tunnel.run(lambda: theirs.peer(US).received >= before + 3 * KEEPALIVE_SIZE, timeout=6)
        assert len(tunnel.established()) == 1


@pytest.mark.parametrize("wire", ["v4", "v6"])
def test_both_follow_a_peer_that_moves(theirs: WireGuardGo, wire: str) -> None:
    with connect(theirs, wire) as tunnel:
        we_ping(tunnel)
        old = tunnel.port
        tunnel.move()
        we_ping(tunnel)
        assert theirs.peer(US).endpoint.endswith(f":{tunnel.port}")
        assert tunnel.port != old
        theirs.move(PORT + 1)
        they_ping(tunnel)
        assert tunnel.endpoint == (WIRE[wire], PORT + 1)
        we_ping(tunnel)
        assert len(tunnel.established()) == 1


# --- load -------------------------------------------------------------------------------------------------------


class Flood:
    """Initiations with a good mac1 that open to nothing: a burst at once, again every tenth of a second.

    Each burst is above the load mark and below the full queue. It comes from many addresses, because one alone would
    have to prove itself before there is load.
    """

    BURST = 3 * UNDER_LOAD_HANDSHAKES
    SOURCES = 250

    def __init__(self, key: NodeKey, address: str, port: int) -> None:
        assert self.BURST < MAX_STAGED_HANDSHAKES
        self.datagrams = noise(key, 100 * self.BURST)
        self._address = (address, port)
        self._stop = threading.Event()
        self._beside: Beside | None = None
        self.bursts = 0

    def __enter__(self) -> Flood:
        self._beside = Beside(self._run)
        while not self.bursts:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._beside is not None
        self._beside.result()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(self.SOURCES)]
            for number, wire in enumerate(wires, 1):
                wire.bind((f"127.0.77.{number}", 0))
            fresh = zip(itertools.cycle(wires), itertools.cycle(self.datagrams))
            while not self._stop.is_set():
                for wire, datagram in itertools.islice(fresh, self.BURST):
                    wire.sendto(datagram, self._address)
                self.bursts += 1
                self._stop.wait(0.1)


def mac2(initiation: Seen) -> bytes:
    return initiation.head[-16:]


def test_wireguard_go_under_load_gives_a_cookie_and_our_retry_completes(theirs: WireGuardGo) -> None:
    with connect(theirs) as tunnel, Flood(THEIRS, "127.0.0.1", PORT) as flood:
        tunnel.run(lambda: flood.bursts > 10)  # until its queue is full our initiation would be answered at once
        we_ping(tunnel, timeout=15)
        assert len(tunnel.seen(COOKIE, ours=False)) >= 1
        (response,) = tunnel.seen(RESPONSE, ours=False)
        initiations = [seen for seen in tunnel.seen(INITIATION, ours=True) if seen.at < response.at]
        assert mac2(initiations[0]) == NO_MAC2
        assert mac2(initiations[-1]) != NO_MAC2
        assert response.head[8:12] == initiations[-1].head[4:8]
        assert not tunnel.device.dropped


def test_we_under_load_give_a_cookie_and_wireguard_gos_retry_completes(theirs: WireGuardGo) -> None:
    with connect(theirs) as tunnel, Flood(US, "127.0.0.1", tunnel.port) as flood:
        tunnel.run(lambda: tunnel.device.is_under_load(tunnel.now))
        pinging = Beside(lambda: ping(OURS["v4"], timeout=20))
        tunnel.run(lambda: bool(tunnel.seen(RESPONSE, ours=True)), timeout=20)
        assert flood.bursts > 10
        initiations = [seen for seen in tunnel.seen(INITIATION, ours=False) if seen.head not in flood.datagrams]
        (response,) = tunnel.seen(RESPONSE, ours=True)
        (accepted,) = [seen for seen in initiations if seen.head[4:8] == response.head[8:12]]
        assert mac2(initiations[0]) == NO_MAC2
        assert mac2(accepted) != NO_MAC2
        assert tunnel.device.dropped["handshake queue full"] == 0
        assert tunnel.device.dropped["mac2"] > 5 * Flood.BURST
        tunnel.run(pinging.done, timeout=20)
        assert pinging.result() < 20


# --- in real time -----------------------------------------------------------------------------------------------


class Longrun:
    """One tunnel to the same wireguard-go with an echo each half second; the kernel or we began."""

    def __init__(self, theirs: WireGuardGo, number: int, initiator: str, *, rekeys: bool) -> None:
        private = NodePrivateKey(bytes([number]) * 32)
        self.initiator, self.rekeys = initiator, rekeys
        self.address = f"100.64.1.{number}"
        self.tunnel = Tunnel(private, THEIRS, addresses=[self.address], endpoint=("127.0.0.1", PORT))
        theirs.add_peer(
            node_public(private), allowed_ips=[f"{self.address}/32"], endpoint=f"127.0.0.1:{self.tunnel.port}"
        )
        self.echo = self.tunnel.stack.ping(ip_address(KERNEL["v4"]))
        self.sent: list[float] = []
        self.answered: list[float] = []

    def begin(self) -> None:
        if self.initiator == "ours":
            self._send()
        else:
            pinging = Beside(lambda: ping(self.address))
            self.tunnel.run(pinging.done)
            pinging.result()
        self.tunnel.run(lambda: self.tunnel.established())
        self.start = self.tunnel.log[-1].at
        self.tunnel.drop_handshakes = not self.rekeys

    def turn(self) -> None:
        self.tunnel.turn(0.0)
        if not self.sent or self.tunnel.now - self.sent[-1] >= 0.5:
            self._send()
        while self.echo.receive() is not None:
            self.answered.append(self.tunnel.now)

    def _send(self) -> None:
        self.echo.send(self.tunnel.now, sequence=len(self.sent) & 0xFFFF)
        self.sent.append(self.tunnel.now)

    def check_rekeyed(self) -> None:
        """One more session, made by who made the first, and no echo lost."""
        ours = self.initiator == "ours"
        assert [fact.is_initiator for fact in self.tunnel.established()] == [ours, ours]
        _, rekey = self.tunnel.seen(INITIATION, ours=ours)
        assert 119.5 < rekey.at - self.start < 122
        assert not self.tunnel.seen(INITIATION, ours=not ours)
        assert len(self.sent) - len(self.answered) <= 1
        assert not self.tunnel.device.dropped

    def check_rejected(self) -> None:
        """Without a new handshake: echoes up to 180 s, then not one packet of the old session, either way."""
        assert 178.5 < self.answered[-1] - self.start < 180.5
        late = [seen for seen in self.tunnel.log if seen.kind == TRANSPORT and seen.at > self.start + 180.5]
        assert late == []
        rekeys = self.tunnel.seen(INITIATION, ours=self.initiator == "ours")[1:]
        assert 119.5 < rekeys[0].at - self.start < 122
        assert len(rekeys) >= 10


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rekey_at_120_s_and_reject_at_180_s_in_real_time(theirs: WireGuardGo) -> None:
    """Four tunnels side by side: each role with its rekey, each role without."""
    runs = [
        Longrun(theirs, 11, "ours", rekeys=True),
        Longrun(theirs, 12, "theirs", rekeys=True),
        Longrun(theirs, 13, "ours", rekeys=False),
        Longrun(theirs, 14, "theirs", rekeys=False),
    ]
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.tunnel)
            run.begin()
        end = time.monotonic() + 188
        while time.monotonic() < end:
            for run in runs:
                run.turn()
            time.sleep(0.02)
        for run in runs:
            if run.rekeys:
                run.check_rekeyed()
            else:
                run.check_rejected()
                run.tunnel.drop_handshakes = False
        for run in runs[2:]:
            answered = len(run.answered)
            while len(run.answered) == answered and time.monotonic() < end + 15:
                run.turn()
                time.sleep(0.02)
            assert len(run.answered) > answered
