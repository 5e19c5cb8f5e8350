"""Bytes, ends and resets, across a bridge, in both directions and in every order that applications know."""

from __future__ import annotations

import errno
import hashlib
import random
import socket
import struct
import sys
import threading
import warnings

import pytest

from tests.interrupts import interrupted
from tests.sockets.node import Idle, MemoryPipe, NodeThread, connect, fill
from tsnet.errors import NotUp
from tsnet.sockets import bridge, connected, handover, pairs

pytestmark = pytest.mark.usefixtures("kind")

module = sys.modules["tsnet.sockets.bridge"]
RESET = ConnectionResetError(errno.ECONNRESET, "the peer reset the connection")


def test_bytes_go_both_ways(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, b"hello")
        assert application.recv(100) == b"hello"
        application.sendall(b"good day")
        node.until(lambda: bytes(pipe.outgoing) == b"good day")


def test_what_the_peer_sent_before_the_bridge_began_is_not_lost(node: NodeThread) -> None:
    pipe = MemoryPipe()
    pipe.incoming += b"early"
    pipe.peer_ended = True
    with bridge(pipe, node.reactor) as application:
        application.settimeout(10)
        assert application.recv(100) == b"early"
        assert application.recv(100) == b""


def test_half_close_by_the_application_lets_the_peer_go_on(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        application.sendall(b"question")
        application.shutdown(socket.SHUT_WR)
        node.until(lambda: pipe.log == ["eof"])
        assert node.take(pipe) == b"question"
        node.arrive(pipe, b"answer", end=True)
        assert application.recv(100) == b"answer"
        assert application.recv(100) == b""
    node.until(lambda: pipe.log == ["eof", "close"])


def test_half_close_by_the_peer_lets_the_application_go_on(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, end=True)
        assert application.recv(100) == b""
        application.sendall(b"still here")
        node.until(lambda: bytes(pipe.outgoing) == b"still here")
        assert pipe.log == []
    node.until(lambda: "close" in pipe.log)


def test_close_delivers_what_was_written_first(node: NodeThread) -> None:
    pipe, application = connect(node, room=1000)
    with application:
        application.sendall(bytes(50_000))
    received = b""
    while len(received) < 50_000:
        received += node.take(pipe)
    node.until(lambda: pipe.log == ["close"])
    assert pipe.written_at_close == 50_000


def test_close_after_a_half_close_is_noticed_though_the_peer_says_nothing(node: NodeThread) -> None:
    pipe, application = connect(node)
    application.shutdown(socket.SHUT_WR)
    node.until(lambda: pipe.log == ["eof"])
    application.close()
    node.until(lambda: pipe.log == ["eof", "close"])


def test_close_with_data_unread_still_ends_the_bridge(node: NodeThread) -> None:
    pipe, application = connect(node)
    node.arrive(pipe, b"never read")
    application.close()
    node.until(lambda: "close" in pipe.log)


def test_data_for_an_application_that_has_gone_ends_the_bridge(node: NodeThread) -> None:
    pipe, application = connect(node, room=0)  # nothing can leave: the end of the application's data is not seen
    application.sendall(b"stuck")
    application.close()
    node.arrive(pipe, bytes(10_000))
    node.arrive(pipe, bytes(10_000))
    pipe.room = 100
    assert node.take(pipe) == b""
    node.until(lambda: bytes(pipe.outgoing) == b"stuck" and "close" in pipe.log)


def test_lingering_for_zero_seconds_resets_the_peer(node: NodeThread) -> None:
    pipe, application = connect(node)
    application.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    application.close()
    node.until(lambda: "abort" in pipe.log)


def test_a_reset_is_not_an_end(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, error=RESET)
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                application.recv(100)
        with pytest.raises(ConnectionResetError):
            application.recv_into(bytearray(10))
        with pytest.raises(ConnectionResetError):
            application.sendall(b"too late")
        assert application.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_what_came_before_the_reset_is_delivered(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, b"last words", error=RESET)
        assert application.recv(100) == b"last words"
        with pytest.raises(ConnectionResetError):
            application.recv(100)


def test_a_reset_wakes_a_blocked_reader(node: NodeThread) -> None:
    pipe, application = connect(node)
    failures: list[OSError] = []

    def read() -> None:
        try:
            application.recv(100)
        except OSError as error:
            failures.append(error)

    with application:
        reader = threading.Thread(target=read)
        reader.start()
        node.arrive(pipe, error=RESET)
        reader.join(10)
    assert [type(error) for error in failures] == [ConnectionResetError]


def test_another_failure_keeps_its_own_error(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, error=TimeoutError(errno.ETIMEDOUT, "nothing came back for 2 minutes"))
        with pytest.raises(TimeoutError, match="nothing came back"):
            application.recv(100)


def test_a_peer_that_reads_slowly_is_felt_by_the_application(node: NodeThread) -> None:
    pipe, application = connect(node, room=1000)
    with application:
        application.settimeout(0)
        assert fill(application) < 1_000_000
    node.arrive(pipe, error=RESET)


def test_an_application_that_reads_slowly_is_felt_by_the_peer(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, bytes(3_000_000))
        assert node.call(lambda: len(pipe.incoming)) > 1_000_000


@pytest.mark.parametrize("seed", range(4))
def test_megabytes_both_ways_at_once_arrive_whole(node: NodeThread, seed: int) -> None:
    chance = random.Random(seed)
    inbound, outbound = chance.randbytes(1_000_000), chance.randbytes(1_000_000)
    pipe, application = connect(node, room=chance.choice([700, 20_000, 400_000]))
    received = bytearray()

    def read() -> None:
        while data := application.recv(chance.choice([100, 5000, 70_000])):
            received.extend(data)

    def write() -> None:
        application.sendall(outbound)
        application.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=target) for target in (read, write)]
    with application:
        for thread in threads:
            thread.start()
        node.arrive(pipe, inbound, end=True)
        sent = bytearray()
        while len(sent) < len(outbound):
            sent += node.take(pipe)
        for thread in threads:
            thread.join(10)
    assert hashlib.sha256(received).digest() == hashlib.sha256(inbound).digest()
    assert hashlib.sha256(sent).digest() == hashlib.sha256(outbound).digest()
    node.until(lambda: pipe.log[-1:] == ["close"])


def test_an_ended_bridge_leaves_nothing_in_the_reactor(node: NodeThread) -> None:
    def registered() -> int:
        return len(node.reactor._selector.get_map())

    before = node.call(registered)
    for _ in range(20):
        pipe, application = connect(node)
        application.sendall(b"x")
        application.close()
        node.until(lambda pipe=pipe: "close" in pipe.log)  # type: ignore[misc]
    assert node.call(registered) == before


# --- a node that is gone: nobody turns the reactor --------------------------------------------------------------

GONE = NotUp("the node ended by an internal error")


def idle_bridge() -> tuple[Idle, socket.socket]:
    idle = Idle()
    application = bridge(idle.pipe, idle.reactor)
    application.settimeout(10)
    idle.made.append(application)
    return idle, application


def fails(idle: Idle) -> None:
    """What whoever finds the node's thread dead does to a pipe."""
    idle.pipe.gone = idle.pipe.error = GONE  # type: ignore[assignment]
    idle.pipe.changed()


def test_a_reader_blocked_in_the_kernel_is_told_when_the_node_is_gone() -> None:
    idle, application = idle_bridge()
    idle.turn()
    failures: list[OSError] = []

    def read() -> None:
        try:
            application.recv(100)
        except OSError as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    fails(idle)
    reader.join(10)
    assert [(error.errno, error.__cause__) for error in failures] == [(errno.ECONNABORTED, GONE)]
    with pytest.raises(ConnectionAbortedError, match="internal error"):
        application.send(b"x")
    assert idle.pipe.log == ["close"]
    idle.close()


def test_what_had_arrived_and_fits_is_read_before_the_error() -> None:
    idle, application = idle_bridge()
    idle.turn()
    idle.pipe.incoming += bytes(3_000_000)  # more than fits: nobody will send the rest
    fails(idle)
    received = bytearray()
    with pytest.raises(ConnectionAbortedError):
        read_all(application, received)
    assert 0 < len(received) < 3_000_000
    idle.close()


def read_all(application: socket.socket, received: bytearray) -> None:
    while data := application.recv(100_000):
        received += data


def test_a_node_gone_before_the_first_turn_and_one_gone_before_the_bridge() -> None:
    idle, application = idle_bridge()
    fails(idle)
    late = Idle()
    late.pipe.incoming += b"arrived"
    late.pipe.gone = late.pipe.error = GONE  # type: ignore[assignment]
    application_of_late = bridge(late.pipe, late.reactor)
    late.made.append(application_of_late)
    assert application_of_late.recv(100) == b"arrived"
    for sock in (application, application_of_late):
        with pytest.raises(ConnectionAbortedError):
            sock.recv(100)
    late.close()
    idle.close()


def test_an_end_that_was_read_stays_an_end_when_the_node_is_gone() -> None:
    idle, application = idle_bridge()
    idle.pipe.peer_ended = True
    idle.turn()
    assert application.recv(100) == b""
    fails(idle)
    assert application.recv(100) == b""
    idle.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_bridge_leaves_nothing(kind: str) -> None:
    if kind != "unix":
        pytest.skip("a loopback pair does not tell its other end that a socket was collected")

    def call(idle: Idle) -> None:
        idle.made.append(bridge(idle.pipe, idle.reactor))

    for idle in interrupted(Idle, call, module, handover, pairs, connected):
        idle.turn()
        idle.close()


def test_an_interrupted_close_may_be_said_again() -> None:
    for idle in interrupted(lambda: idle_bridge()[0], lambda idle: idle.made[0].close(), connected, module):
        idle.turn()
        idle.close()
        assert idle.pipe.log[-1] == "close"


def test_an_interrupted_copy_leaves_nothing() -> None:
    def call(idle: Idle) -> None:
        idle.made.append(idle.made[0].dup())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for idle in interrupted(lambda: idle_bridge()[0], call, connected, handover):
            idle.turn()
            idle.close()
