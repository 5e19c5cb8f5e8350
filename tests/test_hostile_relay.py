"""A home relay that lies to a node about what its peer has sent: it can drop and delay, and nothing else.

    b ─► the relay ─► a lie ─► a          a stream between them, both ways, while the relay lies to a

| what holds in every scene                                                                                   |
|-------------------------------------------------------------------------------------------------------------|
| the stream carries the same bytes, both ways, though it may take longer                                     |
| what a and b say is in none of the bytes that pass                                                          |
| the peer's route stays a relay's; no stranger, and no address that the relay invents, becomes one           |
| what makes no sense is counted, and nothing is answered to whoever is no peer                               |

Then relays that say as much as they can: whatever it is, a node holds at most 4 MiB of it.

Not here: that a relay which floods is left (`tests.derp.test_floods`), that end a login wrongly or fall silent
(`tests.derp.test_client`, `tests.test_failover`), damaged frames by the thousand (`tests.test_fuzz`).
"""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from tests.attacks import derp as attacks
from tests.house import House
from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.links import Closed, Data, Effect, Event, Link, Pause, Received, Resume
from tsnet.derp import frames
from tsnet.edge.io.channel import READ_SIZE
from tsnet.edge.run.handle import Handle
from tsnet.wireguard import messages

Frame = tuple[int, bytes]
Lie = Callable[["Liar", Frame], list[Frame]]
PLAIN = b"what nobody but the two may read "
SIZE = 60_000
STRANGER = NodeKey(b"\x5a" * 32)
DISCO = b"TS\xf0\x9f\x92\xac"


class Liar:
    """Between a relay and one node's client, until that is left. told: frames that were passed on, heard: packets that
    came."""

    def __init__(self, handle: Handle, lie: Lie, other: NodeKey) -> None:
        self.random = Random(1)
        self.other = other
        self.heard: list[bytes] = []
        self.told = 0
        self.kept: list[Frame] = []
        self._lie, self._decoder = lie, frames.Decoder()
        self._link: Link | None = None
        relays = handle.pump.node.relays
        self._receive, relays.receive = relays.receive, self.receive  # type: ignore[method-assign]

    def receive(self, event: Event, now: float) -> Any:
        self._link = self._link or event.link
        if not isinstance(event, Received) or event.link != self._link:
            return self._receive(event, now)
        lies = [lie for frame in self._decoder.feed(event.data) for lie in self._passed(frame)]
        self.told += len(lies)
        stream = b"".join(frames.encode(kind, payload) for kind, payload in lies)
        return self._receive(Received(event.link, stream), now) if stream else []

    def _passed(self, frame: Frame) -> list[Frame]:
        if frame[0] != frames.RECV_PACKET:
            return [frame]
        self.heard.append(frame[1])
        return self._lie(self, frame)


# --- the lies -----------------------------------------------------------------------------------------------------


def loses_a_third(liar: Liar, frame: Frame) -> list[Frame]:
    return [] if liar.random.random() < 0.33 else [frame]


def says_all_three_times(liar: Liar, frame: Frame) -> list[Frame]:
    return [frame] * 3


def keeps_the_order_of_nothing(liar: Liar, frame: Frame) -> list[Frame]:
    liar.kept.append(frame)
    if len(liar.kept) < 4:
        return []
    kept, liar.kept = liar.kept[::-1], []
    return kept


def says_old_things_again(liar: Liar, frame: Frame) -> list[Frame]:
    return [frame, (frames.RECV_PACKET, liar.random.choice(liar.heard))]


def flips_a_bit_of_a_copy(liar: Liar, frame: Frame) -> list[Frame]:
    damaged = bytearray(frame[1])
    damaged[liar.random.randrange(32, len(damaged))] ^= 1 << liar.random.randrange(8)
    return [(frames.RECV_PACKET, bytes(damaged)), frame]


def names_a_stranger(liar: Liar, frame: Frame) -> list[Frame]:
    """As the sender of each packet."""
    return [(frames.RECV_PACKET, STRANGER + frame[1][32:])]


def names_another_peer(liar: Liar, frame: Frame) -> list[Frame]:
    return [(frames.RECV_PACKET, liar.other + frame[1][32:])]


def says_the_peer_is_gone(liar: Liar, frame: Frame) -> list[Frame]:
    reason = liar.random.choice((frames.PEER_GONE_DISCONNECTED, frames.PEER_GONE_NOT_HERE, 77))
    return [frame, (frames.PEER_GONE, frame[1][:32] + bytes([reason]))]


def sends_a_megabyte_of_nothing(liar: Liar, frame: Frame) -> list[Frame]:
    size = liar.random.choice((frames.MAX_PACKET_SIZE + 1, frames.MAX_FRAME_SIZE - 32))
    return [frame] if liar.told % 9 else [(frames.RECV_PACKET, frame[1][:32] + bytes(size)), frame]


def invents_packets(liar: Liar, frame: Frame) -> list[Frame]:
    """That look like WireGuard of each kind, and like disco."""
    heads = [bytes([kind, 0, 0, 0]) for kind in (1, 2, 3, 4)] + [DISCO]
    invented = liar.random.choice(heads) + liar.random.randbytes(liar.random.choice((10, 60, 92, 144, 1300)))
    return [(frames.RECV_PACKET, frame[1][:32] + invented), frame]


def logs_us_in_again(liar: Liar, frame: Frame) -> list[Frame]:
    kinds = (frames.SERVER_KEY, frames.SERVER_INFO, frames.CLIENT_INFO, frames.WATCH_CONNS, frames.CLOSE_PEER)
    return [(kind, liar.random.randbytes(40)) for kind in kinds if liar.random.random() < 0.2] + [frame]


def complains(liar: Liar, frame: Frame) -> list[Frame]:
    """In a text that would move a terminal's cursor."""
    return [frame] if liar.told % 9 else [(frames.HEALTH, b"\x1b[2J" + b"x" * 100_000), (frames.HEALTH, b""), frame]


LIES: list[Lie] = [
    loses_a_third,
    says_all_three_times,
    keeps_the_order_of_nothing,
    says_old_things_again,
    flips_a_bit_of_a_copy,
    names_a_stranger,
    names_another_peer,
    says_the_peer_is_gone,
    sends_a_megabyte_of_nothing,
    invents_packets,
    logs_us_in_again,
    complains,
]
LOSES_ALL = {names_a_stranger}
"""What comes from whoever is no peer is nobody's."""


class Scene:
    """a and b with a stream by the relay, c beside them. passed: what both have sent through relays."""

    def __init__(self, lie: Lie) -> None:
        self.house = house = House(1, relays_only=True)
        self.a, self.b, self.c = (house.up(name) for name in "abc")
        self.passed: list[bytes] = []
        for each in (self.a, self.b):
            self._listen_in(each)
        self.dialled, self.accepted, _ = house.connect(self.b, self.a)
        self.liar = Liar(self.a, lie, self.key_of(self.c))

    def key_of(self, handle: Handle) -> NodeKey:
        return NodeKey(handle.pump.node.engine.device.public_key)

    def _listen_in(self, handle: Handle) -> None:
        node = handle.pump.node
        transmit = node.relays.transmit

        def heard(now: float, budget: int) -> Any:
            effects = transmit(now, budget)
            self.passed += [effect.data for effect in effects if isinstance(effect, Data)]
            return effects

        node.relays.transmit = heard  # type: ignore[method-assign]

    def carry(self, giver: Any, taker: Any, seconds: float) -> bytes:
        """What arrives of SIZE bytes within that time."""
        data, found = (PLAIN * (SIZE // len(PLAIN) + 1))[:SIZE], b""
        giver.give(data)
        end = self.house.now + seconds
        while len(found) < SIZE and self.house.now < end:
            self.house.host.step(end)
            found += taker.take(1 << 20) or b""
        assert found == data[: len(found)]
        return found

    def dropped(self) -> int:
        node = self.a.pump.node
        clients = node.relays.clients.values()
        rooms = [node.engine.dropped, node.engine.device.dropped, node.engine.paths.dropped, node.relays.dropped]
        return sum(room.total() for room in [*rooms, *(client.dropped for client in clients)])


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_relay_that(lie: Lie) -> None:
    scene = Scene(lie)
    before = scene.dropped()
    patience = 5.0 if lie in LOSES_ALL else 120.0
    arrived = [
        scene.carry(scene.dialled, scene.accepted, patience),
        scene.carry(scene.accepted, scene.dialled, patience),
    ]
    if lie in LOSES_ALL:
        assert not arrived[0]
        assert len(arrived[1]) < SIZE  # what leaves before the first acknowledgement is missed
    else:
        assert [len(each) for each in arrived] == [SIZE, SIZE]
    assert not any(PLAIN[:16] in each for each in scene.passed)
    routes = scene.a.pump.node.engine.paths.routes(scene.key_of(scene.b))
    assert routes == (DerpAddress(scene.a.pump.node.home.region, scene.key_of(scene.b)),)
    assert not any(bytes(STRANGER) in each for each in scene.passed)
    if lie in (flips_a_bit_of_a_copy, invents_packets, names_a_stranger, says_old_things_again, says_all_three_times):
        assert scene.dropped() > before
    assert scene.house.finish(scene.c.ping("b", "icmp", 15)).seconds < 5.0


# --- floods ---------------------------------------------------------------------------------------------------------


def unknown_frames_of_a_mebibyte(_key: NodeKey) -> Iterator[bytes]:
    return itertools.repeat(frames.encode(attacks.UNKNOWN, bytes(frames.MAX_FRAME_SIZE)))


def frames_that_never_end(_key: NodeKey) -> Iterator[bytes]:
    """The longest that may be, but for its last byte; then nothing."""
    return itertools.chain([frames.encode(attacks.UNKNOWN, bytes(frames.MAX_FRAME_SIZE))[:-1]], itertools.repeat(b""))


def frames_that_are_too_long(_key: NodeKey) -> Iterator[bytes]:
    return itertools.repeat(frames.encode(attacks.UNKNOWN, bytes(frames.MAX_FRAME_SIZE + 1)))


def packets(key: NodeKey, head: bytes, size: int) -> Iterator[bytes]:
    """Each says something else."""
    for number in itertools.count():
        yield frames.encode(frames.RECV_PACKET, key + (head + number.to_bytes(8, "big")).ljust(size, b"?"))


def longest_packets_of_the_peer(key: NodeKey) -> Iterator[bytes]:
    return packets(key, b"", frames.MAX_PACKET_SIZE)


def handshakes_of_the_peer(key: NodeKey) -> Iterator[bytes]:
    return packets(key, bytes([messages.INITIATION, 0, 0, 0]), messages.INITIATION_SIZE)


def answers_to_no_handshake(key: NodeKey) -> Iterator[bytes]:
    return packets(key, bytes([messages.RESPONSE, 0, 0, 0]), messages.RESPONSE_SIZE)


def data_of_no_session(key: NodeKey) -> Iterator[bytes]:
    return packets(key, bytes([messages.TRANSPORT, 0, 0, 0]), 1280)


def disco_of_the_peer(key: NodeKey) -> Iterator[bytes]:
    return packets(key, DISCO, 200)


def disco_of_strangers(_key: NodeKey) -> Iterator[bytes]:
    for number in itertools.count():
        yield next(packets(NodeKey(number.to_bytes(32, "big")), DISCO, 200))


FLOODS = [
    *attacks.ON_CLIENT.values(),
    unknown_frames_of_a_mebibyte,
    frames_that_never_end,
    frames_that_are_too_long,
    longest_packets_of_the_peer,
    handshakes_of_the_peer,
    answers_to_no_handshake,
    data_of_no_session,
    disco_of_the_peer,
    disco_of_strangers,
]
HELD = 4 << 20
TURNS, READS = 50, 8


def reads(said: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes as a link reads them: always as much as one read takes, unless no more is said just now."""
    waiting = bytearray()
    for piece in said:
        waiting += piece
        while len(waiting) >= READ_SIZE or not piece:
            yield bytes(waiting[:READ_SIZE])
            del waiting[:READ_SIZE]
            if not waiting:
                break


class Flooder:
    """Says what a home relay could to its node: in each turn as much as one read brings, unless the node reads no more.

    Each time that the node has left, it comes back.
    """

    def __init__(self, house: House, handle: Handle, chunks: Iterator[bytes]) -> None:
        self._house, self._pump, self._chunks = house, handle.pump, chunks
        self._paused: set[Link] = set()
        self.said = 0
        relays = handle.pump.node.relays
        transmit = relays.transmit

        def heard(now: float, budget: int) -> list[Effect]:
            effects = transmit(now, budget)
            for effect in effects:
                if isinstance(effect, Pause):
                    self._paused.add(effect.link)
                elif isinstance(effect, Resume):
                    self._paused.discard(effect.link)
            return effects

        relays.transmit = heard  # type: ignore[method-assign]

    def turn(self) -> None:
        node = self._pump.node
        client = node.relays.clients[node.home.region]
        self._house.until(lambda: client.is_connected)
        now = self._house.now
        if client.link is not None and client.link not in self._paused:
            chunk = next(self._chunks)
            self.said += len(chunk)
            node.receive((), [Received(client.link, chunk)] if chunk else [], now)
        self._pump.mark()
        self._house.host.step(now + 0.001)

    def end(self) -> None:
        """Its process has ended; another one is home to the node from now on."""
        node = self._pump.node
        if (link := node.relays.clients[node.home.region].link) is not None:
            node.receive((), [Closed(link, "reset")], self._house.now)
        self._pump.mark()


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_relay_fills_no_memory_with(flood: Callable[[NodeKey], Iterator[bytes]]) -> None:
    """What is built of it and what waits, together; also where the node leaves the relay, and hears more later."""
    house = House(1, relays_only=True)
    a, b = house.up("a"), house.up("b")
    said = list(itertools.islice(reads(flood(NodeKey(b.pump.node.engine.device.public_key))), READS))
    flooder = Flooder(house, a, itertools.cycle(said))
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(TURNS):
            flooder.turn()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert flooder.said > 0
    flooder.end()
    assert most < HELD
    assert house.finish(b.ping("a", "icmp", 60)).seconds < 60.0
