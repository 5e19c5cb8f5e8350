"""Every call of `AsyncServer`, its streams, listeners and events, cancelled at each of its moments (see `cancelling`).

Afterwards, whoever cancelled, and wherever the call was:

| what                                                        | must be                                              |
|-------------------------------------------------------------|------------------------------------------------------|
| tasks, threads, descriptors, alarms that will ring          | as many as before                                    |
| operations, attempts, pipes, ports, connections, requests   | as many as before, soon: what ends says goodbye      |
| data, datagrams, connections, events                        | those that the call did not return are still there   |
| the same call                                               | works, at once                                       |
| a dial beside it, and an echo                               | works                                                |
| what is kept on disk                                        | one whole identity, which the next process has, too  |

All of it in virtual time. A new public method that waits is missed here until it has a line.

Not here: services that need real sockets and threads (`test_cancelled_services`).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

import tsnet
import tsnet.events
from tests.cancelling import HOWS, How, Moment, at_await, at_step, backend, moments
from tests.leftovers import Leftovers
from tests.test_cancelled_services import SERVICES
from tests.virtual import VirtualTailnet
from tsnet.adapters.service_handles import AsyncServing
from tsnet.edge.io.directory import DirectoryStore
from tsnet.engine.saved import IDENTITY, decode_identity

CLASSES = (tsnet.AsyncServer, tsnet.Stream, tsnet.Listener, tsnet.PacketConn, tsnet.events.AsyncEvents, AsyncServing)
SOON = 0.01
"""Seconds after which what a call waits for happens."""
MUCH = 300 * b"much"
BLOCK = 1000 * MUCH
"""More than all buffers between two nodes hold while nobody reads."""

each_how = pytest.mark.parametrize("how", HOWS)


class Scene:
    """Two nodes that know each other. `b` answers at TCP port 80 and UDP port 53 what it is told.

    made: what a call needs, and what it gave: closed after it.
    """

    def __init__(self, virtual: VirtualTailnet, group: Any, how: How) -> None:
        self.virtual, self.how, self.group = virtual, how, group
        self.made: list[Any] = []
        self.got: Any = None
        self.leftovers = Leftovers(virtual)

    async def begin(self) -> None:
        for name in ("a", "b"):
            node = await self.virtual.join(name)
            await node.reachable()
        self.a, self.b = self.virtual.nodes["a"], self.virtual.nodes["b"]
        self.listener, self.packets = await self.b.listen(80), await self.b.listen_packet(53)
        self.group.start_soon(self.listener.serve, echo)
        self.group.start_soon(echo_datagrams, self.packets)
        await self.echoed(self.a)

    async def end(self) -> None:
        for each in (self.listener, self.packets):
            await each.aclose()
        self.group.cancel_scope.cancel()

    async def echoed(self, node: tsnet.AsyncServer) -> None:
        async with await node.dial("b", 80, timeout=20) as stream:
            await stream.send(b"anybody?")
            assert await stream.receive() == b"anybody?"

    def keep(self, made: Any) -> Any:
        self.made.append(made)
        return made

    async def let_go(self) -> None:
        made, self.made = self.made, []
        for each in made:
            if hasattr(each, "aclose"):
                await each.aclose()

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call it in a moment, in a task of its own."""

        async def later() -> None:
            await self.virtual.sleep(SOON)
            done = function(*arguments)
            if inspect.isawaitable(done):
                self.keep(await done)

        self.group.start_soon(later)


@attrs.frozen
class Try:
    """call: what is cancelled. prepare: makes what it needs, each time, and remembers it as `got`. check: what must be
    true afterwards of what is there, which is told what the call returned; if not given, the same call is made."""

    call: Callable[[Scene], Awaitable[Any]]
    prepare: Callable[[Scene], Awaitable[Any]] | None = None
    check: Callable[[Scene, Any], Awaitable[object]] | None = None


async def play(how: How, test: Callable[[Scene], Awaitable[object]]) -> None:
    async with VirtualTailnet() as virtual, anyio.create_task_group() as group:
        scene = Scene(virtual, group, how)
        await scene.begin()
        await test(scene)
        await scene.end()


def run(how: How, test: Callable[[Scene], Awaitable[object]]) -> None:
    anyio.run(play, how, test, backend=backend(how))


async def sweep(scene: Scene, name: str, moment: Moment) -> None:
    """Cancel the call at each of its moments."""
    case = RUNNING[name]

    async def once(number: int) -> bool:
        scene.got = None if case.prepare is None else await case.prepare(scene)
        outcome = await moment(scene.how, lambda: case.call(scene), scene.virtual.tailnet._host, number)
        scene.keep(outcome.value)
        if case.check is not None:
            await case.check(scene, outcome.value)
        elif outcome.came:
            scene.keep(await case.call(scene))
        await scene.let_go()
        await scene.leftovers.check(f"{name}, {moment.__name__} {number}")
        return outcome.came

    scene.leftovers.forget()
    await once(0)  # what is made at the first use is there then
    scene.leftovers.begin()
    for number in moments():
        if not await once(number):
            break
    await scene.echoed(scene.a)


# --- what a node that runs is asked for -----------------------------------------------------------------------------


async def logged_out_and_in(scene: Scene, _value: object) -> None:
    await scene.a.logout()
    assert scene.a.status().state == "logged-out"
    await scene.a.login(auth_key=scene.virtual.tailnet.auth_key)
    await scene.a.reachable()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})


async def subscribed(scene: Scene) -> tsnet.events.AsyncEvents:
    events = scene.keep(scene.a.events())
    scene.soon(scene.a._handle.publish, "news")
    return events  # type: ignore[no-any-return]


async def one_event(scene: Scene, value: object) -> None:
    assert (value or await scene.got.__anext__()) == "news"


async def serving(scene: Scene) -> AsyncServing:
    return scene.keep(await scene.a.serve_asgi(app, 0, block=False))  # type: ignore[no-any-return]


async def serving_that_ends(scene: Scene) -> AsyncServing:
    made = await serving(scene)
    scene.soon(made._begin_close)
    return made


async def has_ended(scene: Scene, _value: object) -> None:
    await scene.got.aclose()
    await scene.got.wait()


NODE: dict[str, Try] = {
    "AsyncServer.up": Try(lambda s: s.a.up(timeout=20)),
    "AsyncServer.reachable": Try(lambda s: s.a.reachable(timeout=20)),
    "AsyncServer.login": Try(lambda s: s.a.login(force=True, timeout=20)),
    "AsyncServer.logout": Try(lambda s: s.a.logout(timeout=20), check=logged_out_and_in),
    "AsyncServer.set": Try(lambda s: s.a.set(hostname="a", timeout=20)),
    "AsyncServer.dial": Try(lambda s: s.a.dial("b", 80, timeout=20)),
    "AsyncServer.listen": Try(lambda s: s.a.listen(0, timeout=20)),
    "AsyncServer.dial_packet": Try(lambda s: s.a.dial_packet("b", 53, timeout=20)),
    "AsyncServer.listen_packet": Try(lambda s: s.a.listen_packet(0, timeout=20)),
    "AsyncServer.ping": Try(lambda s: s.a.ping("b", timeout=20)),
    "AsyncServer.netcheck": Try(lambda s: s.a.netcheck(timeout=20)),
    "AsyncServer.explain": Try(lambda s: s.a.explain("b:80", timeout=20)),
    "AsyncServer.debug": Try(lambda s: s.a.debug("paths", timeout=20)),
    "AsyncServer.issue_id_token": Try(lambda s: s.a.issue_id_token("https://third.example", timeout=20)),
    "AsyncServer.serve_asgi": Try(lambda s: s.a.serve_asgi(app, 0, block=False)),
    "AsyncServer.forward_remote": Try(lambda s: s.a.forward_remote(0, 9)),
    "AsyncServing.wait": Try(lambda s: s.got.wait(), serving_that_ends, has_ended),
    "AsyncServing.aclose": Try(lambda s: s.got.aclose(), serving, has_ended),
    "AsyncServing.__aenter__": Try(lambda s: s.got.__aenter__(), serving),
    "AsyncServing.__aexit__": Try(lambda s: s.got.__aexit__(None, None, None), serving, has_ended),
    "AsyncEvents.__aenter__": Try(lambda s: s.got.__aenter__(), subscribed),
    "AsyncEvents.__aexit__": Try(lambda s: s.got.__aexit__(None, None, None), subscribed),
    "AsyncEvents.aclose": Try(lambda s: s.got.aclose(), subscribed),
    "AsyncEvents.__anext__": Try(lambda s: s.got.__anext__(), subscribed, one_event),
}


# --- what its connections are asked for -----------------------------------------------------------------------------


@attrs.frozen
class Pair:
    """A connection from a to b, and its two ends."""

    near: tsnet.Stream
    far: tsnet.Stream


async def pair(scene: Scene) -> Pair:
    async with await scene.b.listen(0) as listener:
        near = scene.keep(await scene.a.dial("b", listener.port))
        return Pair(near, scene.keep(await listener.accept()))


async def pair_with_news(scene: Scene) -> Pair:
    made = await pair(scene)
    scene.soon(made.far.send, b"news")
    return made


async def pair_that_reads(scene: Scene) -> Pair:
    """From a moment on."""
    made = await pair(scene)
    scene.soon(lambda: scene.group.start_soon(read_on, scene, made.far))
    return made


async def read_on(scene: Scene, stream: tsnet.Stream) -> None:
    scene.keep(Read(b"".join([data async for data in stream])))


@attrs.frozen
class Read:
    data: bytes


async def all_the_news(scene: Scene, value: bytes | None) -> None:
    """What a call did not return, another one does."""
    got = value or b""
    while len(got) < 4:
        got += await scene.got.near.receive()
    assert got == b"news"


async def goes_on(scene: Scene, _value: object) -> None:
    """What a cancelled call has sent is the beginning of what it was to send; and more can be sent."""
    await scene.got.near.send(b"!")
    await scene.got.near.send_eof()
    await scene.virtual.until(lambda: any(isinstance(each, Read) for each in scene.made))
    (read,) = (each.data for each in scene.made if isinstance(each, Read))
    assert read[-1:] == b"!"
    assert BLOCK.startswith(read[:-1])


async def finished(scene: Scene, _value: object) -> None:
    await scene.got.near.send_eof()
    with pytest.raises(anyio.EndOfStream):
        await scene.got.far.receive()
    await scene.got.far.send(b"heard")
    assert await scene.got.near.receive() == b"heard"


async def gone(scene: Scene, _value: object) -> None:
    """Closed, whatever became of the call."""
    with pytest.raises(anyio.ClosedResourceError):
        await scene.got.near.receive()
    with pytest.raises(anyio.EndOfStream):
        await scene.got.far.receive()


async def bound_listener(scene: Scene) -> tsnet.Listener:
    return scene.keep(await scene.b.listen(0))  # type: ignore[no-any-return]


async def listening(scene: Scene) -> tsnet.Listener:
    listener = scene.keep(await scene.b.listen(0))
    scene.soon(scene.a.dial, "b", listener.port)
    return listener  # type: ignore[no-any-return]


async def listening_for_a_moment(scene: Scene) -> tsnet.Listener:
    listener = await listening(scene)
    scene.virtual.at(5 * SOON, lambda: scene.group.start_soon(listener.aclose))
    return listener


async def one_connection(scene: Scene, value: object) -> None:
    if value is None:
        scene.keep(await scene.got.accept())


async def port_is_free(scene: Scene, _value: object) -> None:
    kind = scene.b.listen if isinstance(scene.got, tsnet.Listener) else scene.b.listen_packet
    number = scene.got.port if isinstance(scene.got, tsnet.Listener) else scene.got.local_address[1]
    async with await kind(number):
        pass


async def packets(scene: Scene) -> tsnet.PacketConn:
    """Which hears something in a moment."""
    conn = scene.keep(await scene.a.dial_packet("b", 53))
    scene.soon(conn.send, b"news")
    return conn  # type: ignore[no-any-return]


async def one_datagram(scene: Scene, value: bytes | tuple[bytes, object] | None) -> None:
    got = value or await scene.got.receive()
    assert (got if isinstance(got, bytes) else got[0]) == b"news"


async def bound(scene: Scene) -> tsnet.PacketConn:
    return scene.keep(await scene.b.listen_packet(0))  # type: ignore[no-any-return]


async def full(scene: Scene) -> tsnet.PacketConn:
    """So many datagrams wait that the next one must wait, too."""
    conn: tsnet.PacketConn = scene.keep(await scene.a.dial_packet("b", 53))
    assert conn.remote_address is not None
    while conn._pipe.give(MUCH, conn.remote_address):
        pass
    return conn


CONNECTIONS: dict[str, Try] = {
    "Stream.receive": Try(lambda s: s.got.near.receive(), pair_with_news, all_the_news),
    "Stream.__anext__": Try(lambda s: s.got.near.__anext__(), pair_with_news, all_the_news),
    "Stream.send": Try(lambda s: s.got.near.send(BLOCK), pair_that_reads, goes_on),
    "Stream.send_eof": Try(lambda s: s.got.near.send_eof(), pair, finished),
    "Stream.aclose": Try(lambda s: s.got.near.aclose(), pair, gone),
    "Stream.__aenter__": Try(lambda s: s.got.near.__aenter__(), pair),
    "Stream.__aexit__": Try(lambda s: s.got.near.__aexit__(None, None, None), pair, gone),
    "Listener.accept": Try(lambda s: s.got.accept(), listening, one_connection),
    "Listener.serve": Try(lambda s: s.got.serve(hang_up), listening_for_a_moment),
    "Listener.aclose": Try(lambda s: s.got.aclose(), bound_listener, port_is_free),
    "Listener.__aenter__": Try(lambda s: s.got.__aenter__(), bound_listener),
    "Listener.__aexit__": Try(lambda s: s.got.__aexit__(None, None, None), bound_listener, port_is_free),
    "PacketConn.receive": Try(lambda s: s.got.receive(), packets, one_datagram),
    "PacketConn.receive_from": Try(lambda s: s.got.receive_from(), packets, one_datagram),
    "PacketConn.__anext__": Try(lambda s: s.got.__anext__(), packets, one_datagram),
    "PacketConn.send": Try(lambda s: s.got.send(MUCH), full),
    "PacketConn.send_to": Try(lambda s: s.got.send_to(MUCH, s.got.remote_address), full),
    "PacketConn.aclose": Try(lambda s: s.got.aclose(), bound, port_is_free),
    "PacketConn.__aenter__": Try(lambda s: s.got.__aenter__(), bound),
    "PacketConn.__aexit__": Try(lambda s: s.got.__aexit__(None, None, None), bound, port_is_free),
}
RUNNING = {**NODE, **CONNECTIONS}
AT_A_TIME = 6
GROUPS = [tuple(RUNNING)[first : first + AT_A_TIME] for first in range(0, len(RUNNING), AT_A_TIME)]
"""Calls that share a scene: each takes a fifth of a second to set."""
each_group = pytest.mark.parametrize("names", GROUPS, ids=[f"{names[0]}, …" for names in GROUPS])


def coroutines(kind: type) -> set[str]:
    """What of a class somebody awaits, in an `async with` and an `async for`, too."""
    special = ("__aenter__", "__aexit__", "__anext__")
    found = inspect.getmembers(kind, inspect.iscoroutinefunction)
    return {f"{kind.__name__}.{name}" for name, _ in found if name[0] != "_" or name in special}


def test_every_call_that_waits_is_known_here() -> None:
    waits = set[str]().union(*map(coroutines, CLASSES))
    assert waits - coroutines(object) == {*RUNNING, *LIVES, *SERVICES}


async def sweep_all(scene: Scene, names: tuple[str, ...], moment: Moment) -> None:
    for name in names:
        await sweep(scene, name, moment)


@each_how
@each_group
def test_at_each_await(names: tuple[str, ...], how: How) -> None:
    run(how, lambda scene: sweep_all(scene, names, at_await))


@pytest.mark.slow
@each_how
@each_group
def test_at_each_step(names: tuple[str, ...], how: How) -> None:
    run(how, lambda scene: sweep_all(scene, names, at_step))


# --- its beginning and its end --------------------------------------------------------------------------------------


async def nothing(_scene: Scene, _node: tsnet.AsyncServer) -> None:
    """It has not begun."""


async def is_up(_scene: Scene, node: tsnet.AsyncServer) -> None:
    await node.up(timeout=20)


async def goes_up(scene: Scene, node: tsnet.AsyncServer, value: object) -> None:
    """It has begun, as far as it came, and nobody waits for it: another call does."""
    scene.keep(value)
    await node.up(timeout=20)
    await scene.echoed(node)
    await scene.let_go()
    await node.close()


async def is_closed(_scene: Scene, node: tsnet.AsyncServer, _value: object) -> None:
    await node.close()
    assert node.status().state == "closed"


async def entered_or_closed(scene: Scene, node: tsnet.AsyncServer, value: object) -> None:
    if value is None:
        assert node.status().state == "closed", "nobody will leave what was not entered"
    else:
        await goes_up(scene, node, None)


@attrs.frozen
class Life:
    """call: of a node that is made for each moment, as far as `before` brings it. after: ends it."""

    call: Callable[[tsnet.AsyncServer], Awaitable[Any]]
    before: Callable[[Scene, tsnet.AsyncServer], Awaitable[None]] = nothing
    after: Callable[[Scene, tsnet.AsyncServer, Any], Awaitable[None]] = goes_up


LIVES = {
    "AsyncServer.close": Life(lambda node: node.close(), is_up, is_closed),
    "AsyncServer.__aexit__": Life(lambda node: node.__aexit__(), is_up, is_closed),
    "AsyncServer.__aenter__": Life(lambda node: node.__aenter__(), after=entered_or_closed),
    "AsyncServer.up": Life(lambda node: node.up(timeout=20)),
    "AsyncServer.reachable": Life(lambda node: node.reachable(timeout=20)),
    "AsyncServer.login": Life(lambda node: node.login(timeout=20)),
    "AsyncServer.dial": Life(lambda node: node.dial("b", 80, timeout=20)),
    "AsyncServer.listen": Life(lambda node: node.listen(80, timeout=20)),
}
each_life = pytest.mark.parametrize("name", LIVES)


async def live(scene: Scene, name: str, moment: Moment, folder: Path) -> None:
    """A node for each moment. The next process has its identity, if there was any, and control knows one node more."""
    life, tailnet = LIVES[name], scene.virtual.tailnet
    for number in itertools.chain([0], moments()):
        place = folder / str(number)

        def make(place: Path = place) -> tsnet.AsyncServer:
            scene.virtual.nodes["c"] = scene.virtual.server("c", state=place, ephemeral=False)
            return scene.virtual.nodes["c"]

        node = make()
        await life.before(scene, node)
        outcome = await moment(scene.how, lambda node=node: life.call(node), tailnet._host, number)  # type: ignore[misc]
        await life.after(scene, node, outcome.value)
        kept = identity_in(place)
        again = make()
        await again.up(timeout=20)
        await scene.echoed(again)
        await again.close()
        assert kept in (None, identity_in(place))
        assert len(tailnet.nodes()) == 3
        tailnet.remove("c")
        del scene.virtual.nodes["c"]
        await scene.leftovers.check(f"{name}, {moment.__name__} {number}")
        if number and not outcome.came:
            return
        if not number:
            scene.leftovers.begin()


def identity_in(place: Path) -> tuple[object, ...] | None:
    """What of the identity there does not change by itself; None if nothing was written. It can be locked, and read."""
    store = DirectoryStore(place)
    store.open()
    try:
        saved = store.read(IDENTITY)
        if saved is None:
            return None
        identity = decode_identity(saved)
        return identity.machine_key, identity.node_key
    finally:
        store.close()


@each_how
@each_life
def test_a_life_at_each_await(name: str, how: How, tmp_path: Path) -> None:
    run(how, lambda scene: live(scene, name, at_await, tmp_path))


@pytest.mark.slow
@each_how
@each_life
def test_a_life_at_each_step(name: str, how: How, tmp_path: Path) -> None:
    run(how, lambda scene: live(scene, name, at_step, tmp_path))


# --- what answers ---------------------------------------------------------------------------------------------------


async def echo(stream: Any) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def hang_up(stream: Any) -> None:
    """Its handler is done with it at once."""


async def echo_datagrams(packets: tsnet.PacketConn) -> None:
    async for data, address in packets:
        await packets.send_to(data, address)
