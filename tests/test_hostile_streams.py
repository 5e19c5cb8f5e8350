"""A whole node whose control means harm, while it talks to an innocent peer: what that peer and the application notice.

    control ─► the case, in a's map stream ─► a ◄── a stream of bytes, both ways ──► b

| what holds in every case                                                                     |
|----------------------------------------------------------------------------------------------|
| the stream goes on, both ways; b keeps its address, and nothing is routed that was not before |
| what is refused leaves the map before it, is counted, and the application is told by an event |
| a map that is good is taken again, and health is as before                                    |
| all cases together hold no more than HELD                                                     |

Not here: what each message makes of the netmap (`tests.test_hostile_control`), how large one is (`tests.test_bombs`).
"""

from __future__ import annotations

import gc
import itertools
import json
import tracemalloc
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from tests import test_hostile_control as cases
from tests.control.scripted import NODE_KEY
from tests.house import House, events_of
from tsnet.base.keys import NodeKey
from tsnet.control.mapframes import encode_frame
from tsnet.engine.facts import Health

HELD = 8 << 20
STAYS = "the map before it stays"
WORDS = b"the same as ever "


class Scene:
    """a and b with a stream, and control in whose name a is told the cases."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.house = house = House(1)
        self.a, self.b = house.up("a"), house.up("b")
        self.dialled, self.accepted, _ = house.connect(self.b, self.a)
        self.ours, self.theirs = (str(each.node.addresses[0]) for each in (self.a, self.b))
        self.talk("at first")

    @property
    def netmap(self) -> Any:
        view = self.a.pump.node.view
        assert view is not None
        return view.netmap

    def say(self, frame: bytes) -> None:
        """In the map stream that a has by then."""
        pump: Any = self.house.tailnet._control
        streams = pump.machine._streams
        number = self.netmap.self_node.id
        self.house.until(lambda: number in streams.nodes, 1000.0)
        stream = streams._streams[number]
        stream.connection.calls.write(stream.number, frame)
        streams._touched[stream.connection] = None
        pump.mark()
        self.house.run(0.5)

    def in_our_names(self, document: dict[str, Any]) -> bytes:
        """The case, of the nodes that are here."""
        ours = NodeKey(self.a.pump.node.engine.device.public_key)
        text = json.dumps(document).replace(NODE_KEY.text(), ours.text())
        text = text.replace(f"{cases.OURS}/", "OURS/").replace(f"{cases.INNOCENT}/", f"{self.theirs}/")
        return encode_frame(text.replace("OURS/", f"{self.ours}/").encode(), compress=True)

    def talk(self, when: str) -> None:
        for giver, taker in ((self.dialled, self.accepted), (self.accepted, self.dialled)):
            giver.give(WORDS)
            found = b""
            end = self.house.now + 5.0
            while found != WORDS and self.house.now < end:
                self.house.host.step(end)
                found += taker.take(1 << 16) or b""
            assert found == WORDS, when

    def check(self, when: str) -> None:
        routes = self.a.pump.node.engine.egress.routes
        innocent = NodeKey(self.b.pump.node.engine.device.public_key)
        assert routes.lookup(ip_address(self.theirs).packed) == innocent, when
        for elsewhere in (self.ours, "8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1"):
            assert routes.lookup(ip_address(elsewhere).packed) is None, (when, elsewhere)
        assert str(self.netmap.self_node.ips[0]) == self.ours, when
        self.talk(when)

    def recovers(self, when: str) -> None:
        """By a stream that begins anew if the one before has ended."""
        domain = f"again{next(self._numbers)}.example"
        self.say(encode_frame(json.dumps({"Domain": domain}).encode(), compress=True))
        assert self.netmap.domain == domain, when
        self.check(when)

    def hold_while(self, told: Callable[[], None]) -> int:
        """The most that is held of what is told."""
        gc.collect()
        tracemalloc.start()
        try:
            told()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("part", range(4))
def test_what_is_refused_leaves_the_map_and_the_stream_and_is_told(part: int) -> None:
    scene = Scene()
    events = scene.a.subscribe()

    def tell() -> None:
        for number, (name, frame) in enumerate(list(cases.REFUSED.items())[part::4], 1):
            before = scene.netmap
            events_of(events)
            scene.say(frame)
            assert scene.a.pump.node.control.dropped["map-refused"] == number, name
            assert scene.netmap.peers == before.peers, name
            told = [event for event in events_of(events) if isinstance(event, Health)]
            assert any(STAYS in str(event) for event in told), name
            scene.check(name)
            scene.recovers(name)
            assert not any(STAYS in message for message in scene.a.pump.node.health.messages), name

    assert scene.hold_while(tell) < HELD


def test_what_is_taken_harms_neither_the_stream_nor_the_innocent() -> None:
    scene, taken = Scene(), set[str]()

    def tell() -> None:
        for name, document in cases.HARMLESS.items():
            if "Node" not in document:
                scene.say(scene.in_our_names({**document, "Domain": f"{len(taken)}.example"}))
                if scene.netmap.domain == f"{len(taken)}.example":
                    taken.add(name)
            scene.check(name)
        scene.recovers("all of them")

    assert scene.hold_while(tell) < HELD
    assert len(taken) == len([one for one in cases.HARMLESS.values() if "Node" not in one]), "each has been taken"
