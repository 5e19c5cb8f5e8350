"""The face of a bridged socket: what it says of itself, and that the standard library takes it for a TCP socket."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import threading

import pytest

from tests.sockets.node import LOCAL, REMOTE, MemoryPipe, NodeThread, connect
from tsnet.errors import DialTimeout, NotUp, StreamReset
from tsnet.sockets.connected import os_error

pytestmark = pytest.mark.usefixtures("kind")


def test_it_shows_tailnet_addresses_and_family(node: NodeThread) -> None:
    _, application = connect(node)
    with application:
        assert application.getsockname() == LOCAL
        assert application.getpeername() == REMOTE
        assert application.family == socket.AF_INET
        assert application.type == socket.SOCK_STREAM
        assert "100.64.0.2" in repr(application)


def test_it_shows_ipv6_as_the_socket_module_does(node: NodeThread) -> None:
    pipe = MemoryPipe(local=("fd7a:115c:a1e0::1", 80), remote=("fd7a:115c:a1e0::2", 4000))
    _, application = connect(node, pipe)
    with application:
        assert application.family == socket.AF_INET6
        assert application.getpeername() == ("fd7a:115c:a1e0::2", 4000, 0, 0)


def test_a_closed_socket_has_no_addresses(node: NodeThread) -> None:
    _, application = connect(node)
    application.close()
    for ask in (application.getpeername, application.getsockname, lambda: application.recv(1)):
        with pytest.raises(OSError) as failure:
            ask()
        assert failure.value.errno == errno.EBADF


def test_options_of_tcp_and_ip_are_remembered_without_effect(node: NodeThread) -> None:
    _, application = connect(node)
    with application:
        assert application.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        application.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert application.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert application.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 4) == b"\1\0\0\0"
        application.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 16)
        application.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert application.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert application.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_timeouts_and_select_are_the_kernels(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        application.settimeout(0.01)
        with pytest.raises(TimeoutError):
            application.recv(1)
        assert select.select([application], [], [], 0)[0] == []
        node.arrive(pipe, b"x")
        assert select.select([application], [], [], 10)[0] == [application]
        application.setblocking(False)
        assert application.recv(10) == b"x"
        with pytest.raises(BlockingIOError):
            application.recv(1)


def test_every_way_to_receive_and_to_send(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, b"abcdefgh")
        assert application.recv(1, socket.MSG_PEEK) == b"a"
        buffer = bytearray(2)
        assert application.recv_into(buffer) == 2
        assert application.recvfrom(2) == (b"cd", None)
        assert application.recvfrom_into(buffer) == (2, None)
        assert application.recvmsg(1)[0] == b"g"
        assert application.recvmsg_into([buffer])[0] == 1
        assert application.send(b"1") == 1
        assert application.sendmsg([b"2", b"3"]) == 2
        node.until(lambda: bytes(pipe.outgoing) == b"123")


def test_asking_for_nothing_is_no_end(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, error=ConnectionResetError(errno.ECONNRESET, "reset"))
        node.until(lambda: "close" in pipe.log)
        assert application.recv(0) == b""
        assert application.recv_into(bytearray()) == 0


@pytest.mark.parametrize("call", ["recvmsg", "recvmsg_into", "sendmsg", "send"])
def test_message_calls_show_the_reset_too(node: NodeThread, call: str) -> None:
    pipe, application = connect(node)
    with application:
        node.arrive(pipe, error=ConnectionResetError(errno.ECONNRESET, "reset"))
        node.until(lambda: "close" in pipe.log)
        arguments = {"recvmsg": 10, "recvmsg_into": [bytearray(10)], "sendmsg": [b"x"], "send": b"x"}
        with pytest.raises(ConnectionResetError):
            getattr(application, call)(arguments[call])


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (StreamReset("100.64.0.2:80 reset the stream"), ConnectionResetError),
        (DialTimeout("100.64.0.2:80 stopped answering"), TimeoutError),
        (NotUp("the node was closed"), ConnectionAbortedError),
        (OSError(errno.EHOSTUNREACH, "unreachable"), OSError),
        (ConnectionError("somehow"), ConnectionResetError),
    ],
)
def test_each_failure_becomes_the_builtin_that_fits(error: Exception, builtin: type[OSError]) -> None:
    shown = os_error(error)
    assert type(shown) is builtin
    assert shown.errno
    assert shown.__cause__ is error
    assert (shown.strerror or "") in str(error)


def test_makefile_reads_lines(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application, application.makefile("rwb") as file:
        node.arrive(pipe, b"one\ntwo\n", end=True)
        assert file.readlines() == [b"one\n", b"two\n"]
        file.write(b"three")
        file.flush()
        node.until(lambda: bytes(pipe.outgoing) == b"three")


def test_a_copy_keeps_the_addresses_and_the_connection(node: NodeThread) -> None:
    pipe, application = connect(node)
    copy = application.dup()
    with copy:
        assert copy.getpeername() == REMOTE
        assert copy.gettimeout() == 10
        copy.sendall(b"from the copy")
        node.until(lambda: bytes(pipe.outgoing) == b"from the copy")
    application.close()


def test_detached_the_descriptor_works_on(node: NodeThread) -> None:
    pipe, application = connect(node)
    descriptor = application.detach()
    node.arrive(pipe, b"raw", end=True)
    with open(descriptor, "rb", buffering=0) as file:
        assert file.readall() == b"raw"
    node.until(lambda: "close" in pipe.log or "eof" in pipe.log)


def test_asyncio_streams_work_over_it(node: NodeThread) -> None:
    pipe, application = connect(node)

    async def talk() -> tuple[bytes, object]:
        reader, writer = await asyncio.open_connection(sock=application)
        peer = writer.get_extra_info("peername")
        writer.write(b"ping")
        await writer.drain()
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer, peer

    def answer() -> None:
        node.until(lambda: pipe.log[:1] == ["eof"])
        node.arrive(pipe, b"pong", end=True)

    helper = threading.Thread(target=answer)
    helper.start()
    assert asyncio.run(talk()) == (b"pong", REMOTE)
    helper.join(10)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_childs_exit_does_not_end_the_parents_connection(node: NodeThread) -> None:
    pipe, application = connect(node)
    with application:
        child = os.fork()
        if child == 0:
            application.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        node.arrive(pipe, b"still open")
        assert application.recv(100) == b"still open"
        assert pipe.log == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_peers_end_is_seen_though_a_child_holds_copies(node: NodeThread) -> None:
    pipe, application = connect(node)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent is done
        os._exit(0)
    try:
        with application:
            node.arrive(pipe, error=ConnectionResetError(errno.ECONNRESET, "reset"))
            with pytest.raises(ConnectionResetError):
                application.recv(1)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)
