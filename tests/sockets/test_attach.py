"""Sockets of a real node, from its verbs; what each socket does is tested with its kind."""

from __future__ import annotations

import errno
import gc
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import tsnet
from tests.edge.turns import Turns
from tests.guests import guest_of
from tests.interrupts import interrupted
from tests.netstack.pair import B4
from tests.sockets.node import Idle
from tests.test_server import server
from tsnet.edge.pipes.listening import ListenPipe
from tsnet.edge.pipes.packets import PacketPipe
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.unbuffered import UnbufferedPipe
from tsnet.errors import NotUp, StreamReset
from tsnet.sockets import attach
from tsnet.sockets.attach import listening_socket, packet_socket, stream_socket
from tsnet.testing.tailnet import Tailnet

MODULES = [attach, *(sys.modules[f"tsnet.sockets.{name}"] for name in ("bridge", "listening", "datagrams"))]


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with Tailnet() as tailnet:
        yield tailnet


@pytest.fixture(scope="module")
def nodes(tailnet: Tailnet) -> Iterator[tuple[tsnet.Server, tsnet.Server]]:
    with server(tailnet, "a") as a, server(tailnet, "b") as b:
        yield a, b


def owners(node: tsnet.Server) -> int:
    return len(node._handle.pump.owners)


def wait_for(condition: object) -> None:
    for _ in range(2000):
        if condition():  # type: ignore[operator]
            return
        threading.Event().wait(0.002)
    raise AssertionError("it did not come true")


def test_a_listening_socket_frees_its_port_and_resets_who_waits(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    listener = a.listen(80)
    waiting = b.dial("a", 80)
    listener.close()
    waiting.settimeout(5)
    with pytest.raises(ConnectionResetError):
        waiting.recv(1)
    waiting.close()
    wait_for(lambda: not owners(a))
    a.listen(80).close()


def test_more_connections_than_the_queue_of_descriptors_holds(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen(81, backlog=256) as listener:
        clients = [b.dial("a", 81) for _ in range(150)]
        for _ in clients:
            accepted, _address = listener.accept()
            accepted.close()
        for client in clients:
            client.close()
    gc.collect()
    wait_for(lambda: not owners(a) and not owners(b))


def test_nothing_is_left_of_closed_sockets(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    with a.listen(82) as listener:
        for _ in range(20):
            client = b.dial("a", 82)
            accepted, _ = listener.accept()
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
            accepted.close()
            client.close()
    wait_for(lambda: not owners(a) and not owners(b))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_streams_listeners_and_packets_become_sockets(tailnet: Tailnet, backend: str) -> None:
    async def main() -> None:
        options = guest_of(tailnet)
        from tsnet.edge.io.store import MemoryStore

        a = tsnet.AsyncServer("x", state=MemoryStore(), **options)
        b = tsnet.AsyncServer("y", state=MemoryStore(), **options)
        async with a, b:
            listener = (await a.listen(80)).to_socket()
            stream = await b.dial("x", 80)
            await stream.send(b"sent before it became a socket ")
            sock = stream.to_socket()
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(b"x")
            accepted, _ = await anyio.to_thread.run_sync(listener.accept)

            def talk() -> bytes:
                sock.sendall(b"and after")
                sock.shutdown(socket.SHUT_WR)
                received = b""
                while data := accepted.recv(100):
                    received += data
                return received

            assert await anyio.to_thread.run_sync(talk) == b"sent before it became a socket and after"
            packets = (await a.listen_packet(53)).to_socket()
            conn = await b.dial_packet("x", 53)
            await conn.send(b"datagram")
            assert (await anyio.to_thread.run_sync(packets.recvfrom, 100))[0] == b"datagram"
            for one in (listener, sock, accepted, packets):
                one.close()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_became_a_socket_wakes_who_waits_and_is_closed(tailnet: Tailnet, backend: str) -> None:
    async def main() -> None:
        options = guest_of(tailnet)
        from tsnet.edge.io.store import MemoryStore

        async with tsnet.AsyncServer("moving", state=MemoryStore(), **options) as node:
            listener, packets = await node.listen(80), await node.listen_packet(53)
            stream = await node.dial("moving", 80)
            accepted = await listener.accept()
            for thing, wait in (
                (stream, stream.receive),
                (packets, packets.receive_from),
                (listener, listener.accept),
            ):
                await check_that_it_moves(thing, wait)
            await accepted.aclose()
            with pytest.raises(anyio.ClosedResourceError):
                accepted.to_socket()

    anyio.run(main, backend=backend)


async def check_that_it_moves(thing: Any, wait: Callable[[], Any]) -> None:
    ended = []

    async def waiting() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await wait()
        ended.append(True)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting)
            await anyio.wait_all_tasks_blocked()
            sock = thing.to_socket()
    assert ended
    with sock, pytest.raises(anyio.ClosedResourceError):
        thing.to_socket()
    await thing.aclose()


# --- the port is free when close returns ------------------------------------------------------------------------


def close(sock: socket.socket) -> None:
    sock.close()


def leave(sock: socket.socket) -> None:
    with sock:
        pass


def close_in_another_thread(sock: socket.socket) -> None:
    thread = threading.Thread(target=sock.close)
    thread.start()
    thread.join(10)


def close_a_copy_after_it(sock: socket.socket) -> None:
    copy = sock.dup()
    sock.close()
    copy.close()


@pytest.mark.parametrize("end", [close, leave, close_in_another_thread, close_a_copy_after_it])
def test_a_port_can_be_listened_on_again_at_once(
    nodes: tuple[tsnet.Server, tsnet.Server], end: Callable[[socket.socket], None]
) -> None:
    for _ in range(200):
        end(nodes[0].listen(83))


@pytest.mark.parametrize("end", [close, leave, close_in_another_thread])
def test_a_datagram_port_can_be_listened_on_again_at_once(
    nodes: tuple[tsnet.Server, tsnet.Server], end: Callable[[socket.socket], None]
) -> None:
    for _ in range(200):
        sock = nodes[0].listen_packet(83)
        sock.sendto(b"x", (str(nodes[1].addresses[0]), 9))
        end(sock)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("verb", ["listen", "listen_packet"])
def test_so_it_can_when_the_socket_was_collected(nodes: tuple[tsnet.Server, tsnet.Server], verb: str) -> None:
    for _ in range(100):
        assert getattr(nodes[0], verb)(84).fileno() >= 0


def test_so_it_can_with_connections_that_nobody_accepted(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    a, b = nodes
    for _ in range(20):
        listener = a.listen(85)
        with b.dial("a", 85) as client:
            listener.close()
            client.settimeout(5)
            with pytest.raises(ConnectionResetError):
                client.recv(1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_so_it_can_after_aclose(tailnet: Tailnet, backend: str) -> None:
    async def main() -> None:
        options = guest_of(tailnet)
        from tsnet.edge.io.store import MemoryStore

        async with tsnet.AsyncServer("z", state=MemoryStore(), **options) as node:
            for _ in range(100):
                await (await node.listen(80)).aclose()
                await (await node.listen_packet(80)).aclose()

    anyio.run(main, backend=backend)


# --- a node that nobody turns -----------------------------------------------------------------------------------


class Still(Idle):
    """A handle whose node has a listener, a datagram port and a connection, and a reactor that only the test turns."""

    def __init__(self) -> None:
        self.turns = Turns()
        super().__init__()
        pair = self.turns.pair
        pair.on_turn = self.turns.service
        self.host = self
        self.call = self.reactor.call_soon
        listener, endpoint = pair.b.listen(80), pair.b.open_udp(53)
        self.listener = ListenPipe(listener, self.turns, (str(B4),))
        self.packets = PacketPipe(endpoint, self.turns, (str(B4), 53), None)
        self.turns.owners |= {listener: self.listener, endpoint: self.packets}
        self.stream = self.turns.adopt(pair.a.connect(B4, 80, pair.now, link="b"))
        self.turns.settle()

    def unbuffered(self, pipe: Pipe) -> UnbufferedPipe:
        return UnbufferedPipe(pipe, self)

    def now(self) -> float:
        return self.turns.pair.now

    def mark(self) -> None:
        """A turn is wanted; the test decides when."""

    def attach(self, kind: str) -> socket.socket:
        attach: Any = {"stream": stream_socket, "listener": listening_socket, "packets": packet_socket}[kind]
        sock: socket.socket = attach(self, getattr(self, kind))
        self.made.append(sock)
        return sock

    def settle(self) -> None:
        self.turns.settle(0.1)


def use(sock: socket.socket, kind: str, failures: list[OSError]) -> None:
    try:
        while True:
            sock.accept()[0].close() if kind == "listener" else sock.recv(100)
    except OSError as error:
        failures.append(error)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kind", "number"),
    [("stream", errno.ECONNABORTED), ("listener", errno.EINVAL), ("packets", errno.ECONNABORTED)],
)
def test_who_is_blocked_is_told_when_the_node_fails(kind: str, number: int, turned: bool) -> None:
    """turned: the node has turned since the socket was made. It never will again."""
    still = Still()
    sock = still.attach(kind)
    sock.settimeout(10)
    if turned:
        still.turn()
    failures: list[OSError] = []
    thread = threading.Thread(target=use, args=(sock, kind, failures))
    thread.start()
    getattr(still, kind).fail(NotUp("the node ended by an internal error"))
    thread.join(10)
    assert [error.errno for error in failures] == [number]
    still.close()


@pytest.mark.parametrize(
    ("kind", "number"),
    [("stream", errno.ECONNABORTED), ("listener", errno.EINVAL), ("packets", errno.ECONNABORTED)],
)
def test_a_socket_of_a_node_that_failed_before_is_told_at_once(kind: str, number: int) -> None:
    still = Still()
    getattr(still, kind).fail(NotUp("the node ended by an internal error"))
    failures: list[OSError] = []
    use(still.attach(kind), kind, failures)
    assert [error.errno for error in failures] == [number]
    still.close()


# --- interrupts -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_stream_socket_ends_the_connection() -> None:
    for moment, still in enumerate(interrupted(Still, lambda still: still.attach("stream"), *MODULES)):
        if moment == 0:  # it had not begun: the pipe is still the caller's
            still.stream.abort()
        still.close()
        assert still.stream.connection not in still.turns.owners


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_listening_socket_frees_the_port_and_resets_who_waits() -> None:
    for moment, still in enumerate(interrupted(Still, lambda still: still.attach("listener"), *MODULES)):
        if moment == 0:  # it had not begun: the pipe is still the caller's
            still.listener.close()
        still.close()
        still.turns.pair.b.listen(80)
        with pytest.raises(StreamReset):
            still.stream.take(1)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_packet_socket_frees_the_port() -> None:
    for moment, still in enumerate(interrupted(Still, lambda still: still.attach("packets"), *MODULES)):
        if moment == 0:  # it had not begun: the pipe is still the caller's
            still.packets.close()
        still.close()
        still.turns.pair.b.open_udp(53)


def test_a_listening_socket_and_its_port_have_one_backlog(nodes: tuple[tsnet.Server, tsnet.Server]) -> None:
    """Whatever a server asks of `listen`. One peer has two thirds of what waits in the node."""
    a, b = nodes
    caller = tsnet.AsyncServer._of(b)
    connected: list[tsnet.Stream] = []

    async def main() -> None:
        six = anyio.Event()

        async def dial(port: int) -> None:
            connected.append(await caller.dial("a", port))
            if len(connected) == 6:
                six.set()

        with a.listen(0, backlog=8) as listener:
            listener.listen(1000)
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(dial, listener.getsockname()[1])
                with anyio.fail_after(10):
                    await six.wait()
                await anyio.sleep(0.1)
                assert 6 <= len(connected) <= 7  # 2 or 3 in the kernel's queue, 4 of 6 in the node
                tasks.cancel_scope.cancel()
        for stream in connected:
            stream.abort()

    anyio.run(main)


def test_peers_take_turns_when_there_is_room_for_one_connection_at_a_time(
    tailnet: Tailnet, nodes: tuple[tsnet.Server, tsnet.Server]
) -> None:
    a, greedy = nodes
    with server(tailnet, "c") as innocent, a.listen(0, backlog=16) as listener:
        port = listener.getsockname()[1]
        clients = [greedy.dial("a", port) for _ in range(12)]  # 4 or 5 in the kernel's queue, the others in the node
        clients.append(innocent.dial("a", port))
        wait_for(lambda: owners(a) == 1 + len(clients))
        callers = []
        for _ in clients:
            accepted, address = listener.accept()
            callers.append(address[0])
            turned = threading.Event()
            a._handle.host.call(turned.set)  # by then the place that is free is taken again
            assert turned.wait(10)
            accepted.close()
        assert callers.index(str(innocent.addresses[0])) <= 7
        for client in clients:
            client.close()
