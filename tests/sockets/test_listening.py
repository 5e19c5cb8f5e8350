"""The listening lookalike under what servers do to a listener: block, poll, time out, share, fork, close."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import select
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.interrupts import interrupted
from tests.sockets.node import LOCAL, Idle, MemoryPipe, NodeThread, is_nothing_left, open_descriptors
from tsnet.sockets import (
    Backlog,
    ListeningSocket,
    TailnetSocket,
    backlog,
    connected,
    copies,
    handover,
    inner_end,
    kernel_door,
    listening,
    outer_end,
    pairs,
    queue_door,
    rendezvous,
    shared,
)
from tsnet.sockets.caller import caller_of
from tsnet.sockets.inner_end import FAREWELLS

module = sys.modules["tsnet.sockets.listening"]
pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture(params=["unix", "paths", "loopback"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """paths: AF_UNIX without abstract names and /proc."""
    monkeypatch.setattr(pairs, "HAVE_UNIX", request.param != "loopback")
    if request.param == "paths":
        monkeypatch.setattr(pairs, "HAVE_ABSTRACT_NAMES", False)
        monkeypatch.setattr(rendezvous, "_KEEPS_NO_PATH", False)
    return str(request.param)


class Listener:
    """A listening pair whose node's side the test drives."""

    def __init__(self, node: NodeThread) -> None:
        self.node = node
        self.closed = threading.Event()
        self.room = threading.Event()
        self.application: ListeningSocket
        self.backlog: Backlog
        self.application, self.backlog = listening(LOCAL, node.reactor, self.closed.set)

    def offer(self, number: int = 1) -> MemoryPipe | None:
        pipe = MemoryPipe(remote=("100.64.0.9", number))
        pipe.incoming += b"%d" % number
        return pipe if self.node.call(lambda: self.backlog.offer(pipe, self.room.set)) else None


@pytest.fixture
def listener(node: NodeThread) -> Listener:
    return Listener(node)


def test_accept_hands_out_a_working_connection_with_its_address(listener: Listener) -> None:
    with listener.application:
        pipe = listener.offer(7)
        assert pipe is not None
        connection, address = listener.application.accept()
        with connection:
            assert isinstance(connection, TailnetSocket)
            assert address == connection.getpeername() == ("100.64.0.9", 7)
            assert connection.getsockname() == LOCAL
            assert connection.recv(10) == b"7"
            connection.sendall(b"yes")
            listener.node.until(lambda: bytes(pipe.outgoing) == b"yes")


def test_a_reset_is_shown_by_an_accepted_socket(listener: Listener) -> None:
    with listener.application:
        pipe = listener.offer()
        assert pipe is not None
        connection, _ = listener.application.accept()
        with connection:
            assert connection.recv(10) == b"1"
            listener.node.arrive(pipe, error=ConnectionResetError(errno.ECONNRESET, "reset"))
            with pytest.raises(ConnectionResetError):
                connection.recv(10)


def test_it_says_that_it_is_a_listening_tcp_socket(listener: Listener) -> None:
    with listener.application as application:
        assert application.getsockname() == LOCAL
        assert (application.family, application.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert application.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert application.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert application.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        application.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        application.bind(("0.0.0.0", 1))
        application.listen(5)
        with pytest.raises(OSError) as failure:
            application.getpeername()
        assert failure.value.errno == errno.ENOTCONN


def test_timeouts_polling_and_not_blocking(listener: Listener) -> None:
    with listener.application as application:
        application.settimeout(0.01)
        with pytest.raises(TimeoutError):
            application.accept()
        application.setblocking(False)
        with pytest.raises(BlockingIOError):
            application.accept()
        assert select.select([application], [], [], 0)[0] == []
        listener.offer()
        assert select.select([application], [], [], 10)[0] == [application]
        connection, _ = application.accept()
        connection.close()
        assert connection.gettimeout() is None


@pytest.mark.parametrize("who", ["application", "node"])
def test_close_wakes_a_blocked_accept(listener: Listener, who: str) -> None:
    failures: list[OSError] = []
    started = threading.Event()

    def accept() -> None:
        started.set()
        try:
            listener.application.accept()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=accept)
    thread.start()
    assert started.wait(10)
    if who == "application":
        listener.application.close()
        assert listener.closed.wait(10)
    else:
        listener.node.call(listener.backlog.close)
    thread.join(10)
    assert len(failures) == 1
    listener.application.close()


def test_after_close_an_offer_is_refused(listener: Listener) -> None:
    listener.application.close()
    assert listener.closed.wait(10)
    assert listener.offer() is None


def test_a_full_backlog_refuses_and_says_when_there_is_room(listener: Listener) -> None:
    with listener.application as application:
        offered = 0
        while listener.offer(offered) is not None:
            offered += 1
        assert 32 <= offered <= 1000
        assert not listener.room.is_set()
        for number in range(offered):
            connection, address = application.accept()
            connection.close()
            assert address[1] == number
        assert listener.room.wait(10)
        assert listener.offer(4711) is not None
        connection, address = application.accept()
        connection.close()
        assert address[1] == 4711


def test_many_threads_accept_each_connection_once(listener: Listener) -> None:
    accepted: list[int] = []

    def accept() -> None:
        for _ in range(10):
            connection, address = listener.application.accept()
            accepted.append(address[1])
            connection.close()

    threads = [threading.Thread(target=accept) for _ in range(4)]
    with listener.application:
        for thread in threads:
            thread.start()
        for number in range(40):
            assert listener.offer(number) is not None
        for thread in threads:
            thread.join(10)
    assert sorted(accepted) == list(range(40))


def test_connections_never_accepted_end_with_the_listener(listener: Listener) -> None:
    pipe = listener.offer()
    assert pipe is not None
    listener.application.close()
    assert listener.closed.wait(10)
    listener.node.until(lambda: "close" in pipe.log)


def test_a_copy_accepts_too_and_its_close_leaves_the_original_open(listener: Listener) -> None:
    with listener.application as application:
        copy = application.dup()
        listener.offer(3)
        connection, _ = copy.accept()
        connection.close()
        copy.close()
        listener.offer(4)
        connection, address = application.accept()
        connection.close()
        assert address[1] == 4
        assert not listener.closed.is_set()


def test_asyncio_serves_on_it(listener: Listener) -> None:
    async def serve() -> list[object]:
        peers: list[object] = []
        done = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append(writer.get_extra_info("peername"))
            writer.write(await reader.read(1))
            writer.close()
            await writer.wait_closed()
            if len(peers) == 3:
                done.set()

        server = await asyncio.start_server(answer, sock=listener.application)
        async with server:
            for number in range(3):
                await asyncio.to_thread(listener.offer, number)
            await asyncio.wait_for(done.wait(), 10)
        return peers

    assert sorted(asyncio.run(serve())) == [("100.64.0.9", number) for number in range(3)]  # type: ignore[type-var]


def test_socketserver_serves_on_it(listener: Listener) -> None:
    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(self.request.recv(100))

    server = socketserver.TCPServer(("127.0.0.1", 0), Echo, bind_and_activate=False)
    server.socket.close()
    server.socket = listener.application
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    pipe = listener.offer(5)
    assert pipe is not None
    listener.node.until(lambda: bytes(pipe.outgoing) == b"5" and "close" in pipe.log)
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_of_a_prefork_server_accept_and_leave_the_listener_open(node: NodeThread, kind: str) -> None:
    if kind == "loopback" or not hasattr(os, "fork"):
        pytest.skip("descriptors cannot travel here")
    listener = Listener(node)
    with listener.application as application:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                connection, address = application.accept()
                connection.sendall(b"child saw %d" % address[1])
                connection.close()
                application.close()
                status = 0
            finally:
                os._exit(status)
        pipe = listener.offer(6)
        assert pipe is not None
        assert os.waitpid(child, 0)[1] == 0
        node.until(lambda: bytes(pipe.outgoing) == b"child saw 6" and "close" in pipe.log)
        assert not listener.closed.is_set()
        assert listener.offer(8) is not None
        connection, address = application.accept()
        connection.close()
        assert address[1] == 8


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_the_node_used_the_door_can_close(node: NodeThread, kind: str) -> None:
    if kind == "loopback" or not hasattr(os, "fork"):
        pytest.skip("descriptors cannot travel here")
    listener = Listener(node)
    door = listener.application._shared.door
    assert isinstance(door, kernel_door.KernelDoor)
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with door._lock:
            taken.set()
            over.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)  # ends a child that waits for ever
        listener.application.close()
        os._exit(0)
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        holder.join(10)
        listener.application.close()


# --- the port is free when close returns ------------------------------------------------------------------------


def test_close_says_so_before_it_returns_and_its_last_copy_alone(listener: Listener) -> None:
    copy = listener.application.dup()
    listener.application.close()
    listener.application.close()
    assert not listener.closed.is_set()
    copy.close()
    assert listener.closed.is_set()


def test_a_collected_listener_says_so_too(listener: Listener) -> None:
    with pytest.warns(ResourceWarning, match="ListeningSocket"):
        del listener.application
    assert listener.closed.is_set()


def test_a_detached_descriptor_tells_the_node_itself_when_it_is_closed(listener: Listener, kind: str) -> None:
    descriptor = listener.application.detach()
    listener.application.close()
    del listener.application
    assert not listener.closed.is_set()
    plain = socket.socket(fileno=descriptor)
    assert listener.offer() is not None
    plain.close()
    assert listener.closed.wait(10)
    listener.node.until(lambda: listener.backlog.closed)


# --- the node is closed under it --------------------------------------------------------------------------------


def under_a_closed_node(node: NodeThread, waiting: int = 0) -> Listener:
    listener = Listener(node)
    for number in range(waiting):
        assert listener.offer(number) is not None
    node.call(listener.backlog.close)
    return listener


def test_what_waits_is_accepted_and_then_the_end_is_told(node: NodeThread) -> None:
    with under_a_closed_node(node, waiting=2).application as application:
        for number in range(2):
            connection, address = application.accept()
            connection.close()
            assert address[1] == number
        with pytest.raises(OSError, match="closed") as failure:
            application.accept()
        assert failure.value.errno == errno.EINVAL


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_blocking_accept_ends_at_once_as_often_as_it_is_tried(node: NodeThread, timeout: float | None) -> None:
    with under_a_closed_node(node).application as application:
        application.settimeout(timeout)
        for _ in range(3 * FAREWELLS):
            with pytest.raises(OSError, match="closed"):
                application.accept()


def test_every_thread_that_is_blocked_in_accept_is_told(listener: Listener) -> None:
    failures: list[int | None] = []
    threads = [threading.Thread(target=accept_until_it_fails, args=(listener.application, failures)) for _ in range(20)]
    for thread in threads:
        thread.start()
    listener.node.call(listener.backlog.close)
    for thread in threads:
        thread.join(10)
    assert failures == [errno.EINVAL] * 20
    listener.application.close()


def accept_until_it_fails(application: socket.socket, failures: list[int | None]) -> None:
    number: int | None = errno.EMFILE
    while number == errno.EMFILE:  # a lack of descriptors passes
        try:
            application.accept()[0].close()
        except OSError as error:
            number = error.errno
    failures.append(number)


@pytest.mark.parametrize("blocks", [False, True])
def test_a_loop_that_polls_is_told_once_and_comes_to_rest(node: NodeThread, blocks: bool) -> None:
    """blocks: as socketserver does, which polls and then accepts from a socket that would block."""
    with under_a_closed_node(node).application as application:
        application.setblocking(blocks)
        told = rounds = 0
        while select.select([application], [], [], 0)[0]:
            rounds += 1
            assert rounds <= 2 * FAREWELLS
            try:
                application.accept()
            except BlockingIOError:
                pass
            except OSError:
                told += 1
        assert told == (rounds if blocks else 1)
        application.setblocking(False)
        with pytest.raises(BlockingIOError):
            application.accept()


def test_its_descriptors_are_freed_by_the_application_s_close(node: NodeThread) -> None:
    node.call(lambda: None)
    before = open_descriptors()
    for waiting in (0, 3):
        under_a_closed_node(node, waiting).application.close()
    node.until(lambda: is_nothing_left(before))
    with pytest.warns(ResourceWarning, match="ListeningSocket"):
        under_a_closed_node(node)
    assert is_nothing_left(before)
    os.close(under_a_closed_node(node).application.detach())
    assert is_nothing_left(before)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_blocked_in_accept_are_told(node: NodeThread, kind: str) -> None:
    if kind == "loopback" or not hasattr(os, "fork"):
        pytest.skip("descriptors cannot travel here")
    listener = Listener(node)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            failures: list[int | None] = []
            try:
                accept_until_it_fails(listener.application, failures)
            finally:
                os._exit(0 if failures == [errno.EINVAL] else 1)
        children.append(child)
    node.call(listener.backlog.close)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    listener.application.close()


def test_asyncio_logs_the_end_once_and_comes_to_rest(listener: Listener) -> None:
    problems: list[object] = []

    async def serve() -> float:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: problems.append(context.get("exception")))
        listener.application.setblocking(False)
        server = await asyncio.start_server(lambda reader, writer: None, sock=listener.application)
        async with server:
            await asyncio.to_thread(listener.node.call, listener.backlog.close)
            for _ in range(3 * FAREWELLS):
                await asyncio.sleep(0)
            assert not pairs.is_readable(listener.application)
            began = time.process_time()
            await asyncio.sleep(0.1)
            return time.process_time() - began

    logger = logging.getLogger("asyncio")
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.addFilter(lambda record: seen.append(record) or False)  # type: ignore[func-returns-value]
    logger.addHandler(handler)
    try:
        assert asyncio.run(serve()) < 0.05
    finally:
        logger.removeHandler(handler)
    assert len(problems) + len(seen) == 1


class Quiet(socketserver.TCPServer):
    """A server of the standard library on our socket. calls: how often it was asked to accept."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.calls = listening, 0

    def get_request(self) -> Any:
        self.calls += 1
        return super().get_request()


def test_socketserver_comes_to_rest(listener: Listener) -> None:
    server = Quiet(listener.application)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    listener.node.call(listener.backlog.close)
    limit = time.monotonic() + 10
    while not server.calls or pairs.is_readable(listener.application):
        assert time.monotonic() < limit
    assert 1 <= server.calls <= 2 * FAREWELLS
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_waitress_logs_the_end_once_and_comes_to_rest(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    waitress = pytest.importorskip("waitress.server")
    served: dict[int, Any] = {}
    server = waitress.create_server(lambda environ, start: [], sockets=[listener.application], map=served)
    listener.node.call(listener.backlog.close)
    for _ in range(3 * FAREWELLS):
        server.asyncore.loop(timeout=0, map=served, count=1)
    assert not pairs.is_readable(listener.application)
    assert caplog.text.count("accept() threw an exception") == 1
    server.task_dispatcher.shutdown()
    server.asyncore.close_all(served)


# --- who accepts below Python -----------------------------------------------------------------------------------


@pytest.fixture
def shared_listener(kind: str, node: NodeThread) -> Listener:
    """One that others than this process can accept from, too."""
    if kind == "loopback":
        pytest.skip("only this process can accept here")
    return Listener(node)


def test_a_bare_descriptor_accepts_and_its_peer_s_name_tells_who_calls(shared_listener: Listener) -> None:
    with shared_listener.application, socket.socket(fileno=os.dup(shared_listener.application.fileno())) as bare:
        pipe = shared_listener.offer(7)
        assert pipe is not None
        connection, name = bare.accept()
        with connection:
            assert caller_of(name) == caller_of(connection.getpeername()) == (LOCAL, ("100.64.0.9", 7))
            assert connection.recv(10) == b"7"
            connection.sendall(b"yes")
            shared_listener.node.until(lambda: bytes(pipe.outgoing) == b"yes")
        shared_listener.node.until(lambda: "close" in pipe.log)


CHILD = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as listening:
    connection, _ = listening.accept()
    connection.sendall(b"from a program")
    connection.close()
"""


def test_another_program_accepts(shared_listener: Listener) -> None:
    with shared_listener.application as application:
        number = application.fileno()
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(number)], pass_fds=[number])
        pipe = shared_listener.offer(6)
        assert pipe is not None
        assert child.wait(10) == 0
        shared_listener.node.until(lambda: bytes(pipe.outgoing) == b"from a program" and "close" in pipe.log)
        assert not shared_listener.closed.is_set()


def test_copies_that_nobody_sees_keep_the_port(shared_listener: Listener) -> None:
    bare = socket.socket(fileno=os.dup(shared_listener.application.fileno()))
    shared_listener.application.close()
    assert not shared_listener.closed.is_set()
    assert shared_listener.offer() is not None
    bare.accept()[0].close()
    bare.close()
    assert shared_listener.closed.wait(10)


def test_below_python_a_loop_that_polls_comes_to_rest_too(shared_listener: Listener) -> None:
    assert shared_listener.offer(0) is not None
    shared_listener.node.call(shared_listener.backlog.close)
    with shared_listener.application, socket.socket(fileno=os.dup(shared_listener.application.fileno())) as bare:
        bare.setblocking(False)
        accepted = []
        while select.select([bare], [], [], 0)[0]:
            connection = bare.accept()[0]
            accepted.append(connection.recv(10))
            connection.close()
        assert accepted == [b"0", *[b""] * FAREWELLS]
        with pytest.raises(BlockingIOError):
            bare.accept()


def test_every_descriptor_is_closed_by_exec(listener: Listener) -> None:
    with listener.application as application:
        assert listener.offer() is not None
        connection, _ = application.accept()
        with connection, application.dup() as copy, connection.dup() as other:
            assert not any(sock.get_inheritable() for sock in (application, connection, copy, other))
            inheritable = [number for number in open_numbers() if os.get_inheritable(number)]
            assert [number for number in inheritable if stat.S_ISSOCK(os.fstat(number).st_mode)] == []


def open_numbers() -> list[int]:
    found = []
    for text in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(text))
            found.append(int(text))
    return found


# --- no room, no descriptor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [1, 5, 40])
def test_as_many_wait_as_listen_was_told(listener: Listener, asked: int) -> None:
    with listener.application as application:
        application.listen(asked)
        offered = 0
        while listener.offer(offered) is not None:
            offered += 1
        assert asked <= offered <= asked + 1  # the kernel counts one more
        for _ in range(offered):
            application.accept()[0].close()


def test_who_accepts_below_python_gets_what_found_no_room(shared_listener: Listener) -> None:
    with shared_listener.application as application, socket.socket(fileno=os.dup(application.fileno())) as bare:
        application.listen(1)
        while shared_listener.offer() is not None:
            pass
        for _ in range(3):
            bare.accept()[0].close()
            assert shared_listener.room.wait(10)
            shared_listener.room.clear()
            while shared_listener.offer() is not None:
                pass


class Exhausted:
    """No descriptor is free in this process."""

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_numbers()) + 1, self.before[1]))
        self.taken: list[int] = []
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(os.dup(0))

    def __exit__(self, *exc: object) -> None:
        for number in self.taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)


def test_without_a_descriptor_accept_says_so_and_loses_nothing(shared_listener: Listener) -> None:
    with shared_listener.application as application:
        assert shared_listener.offer(7) is not None
        with Exhausted():
            for _ in range(3):
                with pytest.raises(OSError, match="open files") as failure:
                    application.accept()
                assert failure.value.errno == errno.EMFILE
        connection, address = application.accept()
        with connection:
            assert address[1] == 7
            assert connection.recv(10) == b"7"


def test_without_a_descriptor_an_offer_says_so_and_takes_nothing(listener: Listener) -> None:
    with listener.application as application:
        with Exhausted():
            for _ in range(3):
                with pytest.raises(OSError, match="open files"):
                    listener.offer()
        assert listener.offer(8) is not None
        connection, address = application.accept()
        connection.close()
        assert address[1] == 8


def test_without_a_descriptor_the_end_is_told_all_the_same(shared_listener: Listener) -> None:
    with shared_listener.application as application:
        failures: list[int | None] = []
        thread = threading.Thread(target=accept_until_it_fails, args=(application, failures))
        thread.start()
        with Exhausted():
            shared_listener.node.call(shared_listener.backlog.close)
            thread.join(10)
        assert failures == [errno.EINVAL]


def test_where_no_directory_can_be_made_this_process_accepts(
    node: NodeThread, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    listener = Listener(node)
    with listener.application as application:
        assert listener.offer(3) is not None
        connection, address = application.accept()
        connection.close()
        assert address[1] == 3


# --- interrupts -------------------------------------------------------------------------------------------------

MODULES = (
    module,
    backlog,
    connected,
    copies,
    handover,
    inner_end,
    kernel_door,
    outer_end,
    queue_door,
    rendezvous,
    shared,
)


class IdleListener(Idle):
    """A listener of a node that only the test turns. said: how often the application's end was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.said = 0

    def listen(self) -> None:
        application, self.backlog = listening(LOCAL, self.reactor, self.close_was_said)
        self.made.append(application)

    def close_was_said(self) -> None:
        self.said += 1

    def accept(self) -> None:
        application = self.made[0]
        assert isinstance(application, ListeningSocket)
        self.made.append(application.accept()[0])


def listening_idle(*, waiting: bool = False) -> IdleListener:
    idle = IdleListener()
    idle.listen()
    idle.turn()
    if waiting:
        assert idle.backlog.offer(idle.pipe, lambda: None)
    return idle


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_listen_leaves_nothing() -> None:
    for idle in interrupted(IdleListener, IdleListener.listen, *MODULES):
        idle.turn()
        idle.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_accept_leaves_the_connection_or_ends_it(kind: str) -> None:
    if kind == "loopback":
        pytest.skip("where descriptors cannot travel, the connection may wait for the next one")
    for idle in interrupted(lambda: listening_idle(waiting=True), IdleListener.accept, *MODULES):
        if len(idle.made) == 1 and pairs.is_readable(idle.made[0]):
            idle.accept()
            idle.made[1].send(b"x")
            idle.turn()
            assert idle.pipe.outgoing == b"x"
        idle.close()
        assert "close" in idle.pipe.log or "abort" in idle.pipe.log


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_close_may_be_said_again_or_left_to_the_collector(kind: str) -> None:
    if kind == "loopback":
        pytest.skip("a loopback pair does not tell its other end that a socket was collected")
    for collected in (False, True):
        for idle in interrupted(lambda: listening_idle(waiting=True), lambda idle: idle.made[0].close(), *MODULES):
            if collected:
                idle.made.clear()
            idle.close()
            assert idle.said
