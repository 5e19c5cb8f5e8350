"""The queue at the door: mac1, the bound, load and its second, cookies, the rate."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.wireguard.pair import entropy, private_key
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import node_public
from tsnet.wireguard.admission import Admission
from tsnet.wireguard.constants import MAX_STAGED_HANDSHAKES, RATE_BURST, UNDER_LOAD_HANDSHAKES
from tsnet.wireguard.cookie import CookieChecker, CookieMaker
from tsnet.wireguard.messages import CookieReply
from tsnet.wireguard.outbox import Outbox

OURS = node_public(private_key(1))
SOURCE = UdpAddress("192.0.2.1", 5)


class Door:
    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.outbox = Outbox(self.dropped)
        self.admission = Admission(CookieChecker(OURS, entropy(1)), self.outbox, self.dropped)
        self.maker = CookieMaker(OURS)
        self.number = 0

    def message(self, now: float = 0.0) -> bytes:
        self.number += 1
        body = b"\1\0\0\0" + self.number.to_bytes(4, "little")
        return self.maker.add_macs(body.ljust(116, b"\0"), now)

    def flood(self, count: int, now: float = 0.0, source: Destination = SOURCE) -> None:
        for _ in range(count):
            self.admission.stage(source, self.message(now), now)

    def drain(self, now: float) -> int:
        admitted = 0
        while self.admission.next(now) is not None:
            admitted += 1
        return admitted


def test_at_rest_all_are_admitted_in_order_without_cookies() -> None:
    door = Door()
    messages = [door.message() for _ in range(UNDER_LOAD_HANDSHAKES - 1)]
    for message in messages:
        door.admission.stage(SOURCE, message, 0.0)
    assert [door.admission.next(0.0) for _ in messages] == [(SOURCE, message) for message in messages]
    assert door.admission.next(0.0) is None
    assert not door.outbox
    assert not door.dropped


def test_a_wrong_mac1_is_not_staged() -> None:
    door = Door()
    message = door.message()
    door.admission.stage(SOURCE, message[:50] + b"?" + message[51:], 0.0)
    assert len(door.admission) == 0
    assert door.dropped == {"mac1": 1}


def test_a_full_queue_refuses_the_newest() -> None:
    door = Door()
    door.flood(MAX_STAGED_HANDSHAKES + 3)
    assert len(door.admission) == MAX_STAGED_HANDSHAKES
    assert door.dropped == {"handshake queue full": 3}


def test_load_begins_at_an_eighth_and_lasts_a_second() -> None:
    door = Door()
    door.flood(UNDER_LOAD_HANDSHAKES - 1, now=10.0)
    assert not door.admission.is_under_load(10.0)
    door.flood(1, now=10.0)
    assert door.admission.is_under_load(10.0)
    door.drain(10.0)
    assert door.admission.is_under_load(10.99)
    assert not door.admission.is_under_load(11.0)


def test_load_goes_on_while_the_queue_stays_long() -> None:
    door = Door()
    door.flood(UNDER_LOAD_HANDSHAKES + 5, now=10.0)
    assert door.admission.is_under_load(15.0)
    door.drain(15.0)
    assert door.admission.is_under_load(15.5)
    assert not door.admission.is_under_load(16.0)


def test_under_load_a_message_without_mac2_gets_a_cookie_instead() -> None:
    door = Door()
    door.flood(UNDER_LOAD_HANDSHAKES)
    assert door.drain(0.0) == 0
    assert door.dropped == {"mac2": UNDER_LOAD_HANDSHAKES}
    replies = door.outbox.take(10**6)
    assert [recipient for recipient, _ in replies] == [SOURCE] * UNDER_LOAD_HANDSHAKES
    last = CookieReply.decode(replies[-1][1][0])
    assert last.receiver == door.number
    assert door.maker.consume_reply(last, 0.0)


def test_under_load_a_valid_mac2_is_admitted_up_to_the_rate() -> None:
    door = Door()
    door.flood(UNDER_LOAD_HANDSHAKES)
    door.drain(0.0)
    (reply,) = door.outbox.take(10**6)[-1][1]
    assert door.maker.consume_reply(CookieReply.decode(reply), 0.0)
    door.flood(RATE_BURST + 3, now=0.1)
    assert door.drain(0.1) == RATE_BURST
    assert door.dropped["rate limit"] == 3
    door.flood(1, now=0.2)
    assert door.drain(0.2) == 1
    assert not door.outbox


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (UdpAddress("192.0.2.1", 5), UdpAddress("192.0.2.1", 6), True),
        (UdpAddress("192.0.2.1", 5), UdpAddress("192.0.2.2", 5), False),
        (UdpAddress("2001:db8::1", 5), UdpAddress("2001:db8::2", 5), True),
        (UdpAddress("2001:db8::1", 5), UdpAddress("2001:db8:0:1::1", 5), False),
        (UdpAddress("fe80::1%eth0", 5), UdpAddress("fe80::2%eth1", 5), True),
        (DerpAddress(1, OURS), DerpAddress(2, OURS), False),
    ],
)
def test_who_shares_a_rate(one: Destination, other: Destination, shared: bool) -> None:
    door = Door()
    door.flood(UNDER_LOAD_HANDSHAKES)
    door.drain(0.0)
    admitted = []
    for source in (one, other):
        door.admission.stage(source, door.message(), 0.1)
        assert door.admission.next(0.1) is None
        (reply,) = door.outbox.take(10**6)[-1][1]
        door.maker.consume_reply(CookieReply.decode(reply), 0.1)
        door.flood(RATE_BURST, now=0.1, source=source)
        admitted.append(door.drain(0.1))
    assert admitted == [RATE_BURST, 0 if shared else RATE_BURST]


def test_a_new_key_empties_the_queue() -> None:
    door = Door()
    door.flood(3)
    door.admission.replace_checker(CookieChecker(node_public(private_key(2)), entropy(2)))
    assert len(door.admission) == 0
    door.flood(1)
    assert door.dropped == {"mac1": 1}
