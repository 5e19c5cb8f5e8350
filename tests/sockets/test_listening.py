"""The listening lookalike under what servers do to a listener: block, poll, time out, share, fork, close."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import socketserver
import threading

import pytest

from tests.sockets.node import LOCAL, MemoryPipe, NodeThread
from tsnet.sockets import Backlog, ListeningSocket, TailnetSocket, listening

pytestmark = pytest.mark.usefixtures("kind")


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
    if kind != "unix" or not hasattr(os, "fork"):
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
