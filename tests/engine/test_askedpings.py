from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from tests.engine.pair import A4, B4, B6, Pair
from tsnet.control.messages import PingRequest
from tsnet.engine.askedpings import MAX_UNANSWERED, PING_TIMEOUT, AskedPings
from tsnet.engine.peerpath import PeerPath
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
    answer = {"Type": "TSMP", "IP": str(B4), "NodeIP": str(B4), "NodeName": "b", "LatencySeconds": took}
    assert kit.pong() == [answer]
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
    assert kit.ask("peerapi,made up,peerapi") == kit.ask(ip="nowhere") == kit.ask(ip="") == kit.ask("") == []
    assert kit.pings.dropped == Counter({"unsupported": 5})


def test_each_type_has_an_answer_of_its_own() -> None:
    kit = Kit()
    answers = kit.ask("disco,TSMP,ICMP", ip="100.64.0.99")
    assert answers == [
        {"Type": kind, "IP": "100.64.0.99", "Err": "no matching peer"} for kind in ("disco", "TSMP", "ICMP")
    ]


def test_an_echo_of_the_peer_becomes_the_answer() -> None:
    kit = Kit()
    began = kit.pair.now
    assert not kit.pings.awaits_echo
    assert kit.ask("ICMP") == []
    assert kit.pings.awaits_echo
    found: list[dict[str, object]] = []

    def echoed() -> bool:
        found.extend(answer for _ping, answer in kit.pings.take_echoes(kit.pair.now))
        return bool(found)

    kit.pair.reach(echoed)
    took = kit.pair.now - began
    assert found == [{"Type": "ICMP", "IP": str(B4), "NodeIP": str(B4), "NodeName": "b", "LatencySeconds": took}]
    assert kit.pings.take_echoes(kit.pair.now) == [], "once"
    assert not kit.pings.awaits_echo
    assert not kit.pair.a.engine.stack._icmp._endpoints


def test_an_echo_that_nobody_answers_leaves_nothing() -> None:
    kit = Kit()
    kit.ask("ICMP")
    kit.pair.clock.advance(PING_TIMEOUT + 0.1)
    assert kit.pong() == []
    assert not kit.pair.a.engine.stack._icmp._endpoints


def test_an_echo_that_nobody_answers_is_not_waited_for_for_ever() -> None:
    """While it is, each turn that something arrives in looks at every room."""
    kit = Kit()
    kit.ask("ICMP")
    kit.pair.clock.advance(PING_TIMEOUT + 0.1)
    assert kit.pings.take_echoes(kit.pair.now) == []
    assert not kit.pings.awaits_echo
    assert not kit.pair.a.engine.stack._icmp._endpoints
    assert kit.pings.dropped["unanswered"] == 1


def test_echoes_that_come_too_late_leave_nothing_either() -> None:
    kit = Kit()
    for _ in range(3):
        kit.ask("ICMP")
    kit.pair.run(seconds=1.0)
    kit.pair.clock.advance(PING_TIMEOUT + 0.1)
    assert kit.pings.take_echoes(kit.pair.now) == []
    assert not kit.pair.a.engine.stack._icmp._endpoints


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (PeerPath("192.0.2.2:41641"), {"Endpoint": "192.0.2.2:41641"}),
        (PeerPath("192.0.2.9:7777", vni=5), {"PeerRelay": "192.0.2.9:7777:vni:5"}),
        (PeerPath(region=1, region_code="nyc"), {"DERPRegionID": 1, "DERPRegionCode": "nyc"}),
    ],
)
def test_a_disco_pong_tells_its_path(path: PeerPath, fields: dict[str, object]) -> None:
    """As Go fills PingResponse: the node's own address, also where one behind it was asked for."""
    kit = Kit()
    assert kit.ask("disco", ip=str(B6)) == []
    (answer,) = (answer for _ping, answer in kit.pings.answered((1).to_bytes(8, "big"), kit.pair.now, path=path))
    assert answer == {
        "Type": "disco",
        "IP": str(B6),
        "NodeIP": str(B4),
        "NodeName": "b",
        "LatencySeconds": 0.0,
        **fields,
    }


def test_the_port_of_a_peers_peerapi() -> None:
    kit = Kit()
    kit.ask()
    (found,) = kit.pings.answered((1).to_bytes(8, "big"), kit.pair.now, peer_api_port=4711)
    assert found[1]["PeerAPIPort"] == 4711


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
