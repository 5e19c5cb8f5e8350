from __future__ import annotations

from collections import Counter
from itertools import count

from tests.engine.pair import A4, B4, Pair
from tsnet.control.messages import PingRequest
from tsnet.engine.askedpings import MAX_UNANSWERED, PING_TIMEOUT, AskedPings
from tsnet.engine.tsmp import TsmpPong

URL = "https://control.example/p"


class Kit:
    """Node `a` of a pair is asked to ping."""

    def __init__(self) -> None:
        self.pair = Pair()
        numbers = count(1)
        self.pings = AskedPings(self.pair.a.engine, lambda size: next(numbers).to_bytes(size, "big"))

    def ask(self, types: str = "TSMP", ip: str = str(B4)) -> list[dict[str, object]]:
        request = PingRequest(URL, types=types, ip=ip)
        answers = self.pings.asked(request, self.pair.now)
        assert all(ping is request for ping, _answer in answers)
        return [answer for _ping, answer in answers]

    def pong(self, number: int = 1) -> list[dict[str, object]]:
        return [answer for _ping, answer in self.pings.answered(number.to_bytes(8, "big"), self.pair.now)]


def test_the_pong_of_a_peer_becomes_the_answer() -> None:
    kit = Kit()
    began = kit.pair.now
    assert kit.ask() == []
    pongs: list[bytes] = []
    while not pongs:
        assert kit.pair.step(began + 60)
        messages = (message for _key, _address, message in kit.pair.a.engine.take_messages(began))
        pongs += [message.data for message in messages if isinstance(message, TsmpPong)]
    assert pongs == [(1).to_bytes(8, "big")]
    took = kit.pair.now - began
    assert kit.pong() == [{"Type": "TSMP", "IP": str(B4), "NodeIP": str(B4), "LatencySeconds": took}]
    assert kit.pong() == [], "once"


def test_where_there_is_no_peer_to_ping_control_is_told_why() -> None:
    kit = Kit()
    assert kit.ask(ip="100.64.0.99") == [{"Type": "TSMP", "IP": "100.64.0.99", "Err": "no matching peer"}]
    assert kit.ask(ip=str(A4)) == [
        {"Type": "TSMP", "IP": str(A4), "Err": f"{A4} is local Tailscale IP", "IsLocalIP": True}
    ]
    assert kit.pong() == []


def test_what_this_node_cannot_ping_is_counted() -> None:
    kit = Kit()
    assert kit.ask("disco,ICMP,TSMP,peerapi", ip="100.64.0.99") != []
    assert kit.ask("made up") == kit.ask(ip="nowhere") == kit.ask(ip="") == []
    assert kit.pings.dropped == Counter({"unsupported": 6})


def test_a_pong_that_comes_too_late_is_no_answer() -> None:
    kit = Kit()
    kit.ask()
    kit.pair.clock.advance(PING_TIMEOUT + 0.1)
    assert kit.pong() == []
    assert kit.pings.dropped["unanswered"] == 1


def test_control_can_ask_for_no_more_than_a_few_at_once() -> None:
    kit = Kit()
    for _ in range(MAX_UNANSWERED + 5):
        kit.ask()
    assert kit.pings.dropped["too many"] == 5
    assert len(kit.pong(MAX_UNANSWERED)) == 1
    assert kit.ask() == [], "there is room again"
    assert kit.pings.dropped["too many"] == 5
