"""The queue at the door: mac1, replays, the bound, load and its second, cookies, rates and budgets."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tests.attacks.wireguard import strangers
from tests.wireguard.pair import entropy, private_key
from tsnet.base.addresses import DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey
from tsnet.wireguard.admission import Admission
from tsnet.wireguard.constants import (
    COOKIE_REPLIES_AT_ONCE,
    HANDSHAKES_AT_ONCE,
    HANDSHAKES_PER_SECOND,
    MAX_REMEMBERED_HANDSHAKES,
    MAX_STAGED_HANDSHAKES,
    RATE_BURST,
    UNDER_LOAD_HANDSHAKES,
    UNPROVEN_AT_ONCE,
    UNPROVEN_PER_SECOND,
)
from tsnet.wireguard.cookie import CookieChecker, CookieMaker
from tsnet.wireguard.messages import CookieReply
from tsnet.wireguard.outbox import Outbox
from tsnet.wireguard.ratelimiter import MAX_SOURCES

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

    def load(self, count: int = UNDER_LOAD_HANDSHAKES, now: float = 0.0) -> None:
        """So many messages, each from a source of its own."""
        for source in strangers(count):
            self.admission.stage(source, self.message(now), now)

    def take_cookie(self, source: Destination) -> None:
        """Under load: let the source be told to prove itself, and do so from now on."""
        self.admission.stage(source, self.message(), 0.1)
        (reply,) = self.outbox.take(10**6)[-1][1]
        assert self.maker.consume_reply(CookieReply.decode(reply), 0.1)

    def drain(self, now: float) -> int:
        admitted = 0
        while self.admission.next(now) is not None:
            admitted += 1
        return admitted


def test_at_rest_all_are_admitted_in_order_without_cookies() -> None:
    door = Door()
    messages = [(source, door.message()) for source in strangers(UNDER_LOAD_HANDSHAKES - 1)]
    for source, message in messages:
        door.admission.stage(source, message, 0.0)
    assert [door.admission.next(0.0) for _ in messages] == messages
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
    """Only senders that have proven their address, or come by relay, can fill it."""
    door = Door()
    door.load()
    for number in range(MAX_STAGED_HANDSHAKES - UNDER_LOAD_HANDSHAKES + 3):
        door.admission.stage(DerpAddress(1, NodeKey(number.to_bytes(32, "big"))), door.message(), 0.0)
    assert len(door.admission) == MAX_STAGED_HANDSHAKES
    assert door.dropped == {"handshake queue full": 3}


def test_load_begins_at_an_eighth_and_lasts_a_second() -> None:
    door = Door()
    door.load(UNDER_LOAD_HANDSHAKES - 1, now=10.0)
    assert not door.admission.is_under_load(10.0)
    door.flood(1, now=10.0)
    assert door.admission.is_under_load(10.0)
    assert door.drain(10.0) == UNDER_LOAD_HANDSHAKES
    assert door.admission.is_under_load(10.99)
    assert not door.admission.is_under_load(11.0)


def test_load_goes_on_while_the_queue_stays_long() -> None:
    door = Door()
    door.load(UNDER_LOAD_HANDSHAKES, now=10.0)
    assert door.admission.is_under_load(15.0)
    door.drain(15.0)
    assert door.admission.is_under_load(15.5)
    assert not door.admission.is_under_load(16.0)


def test_under_load_a_message_without_mac2_gets_a_cookie_instead() -> None:
    door = Door()
    door.load()
    door.flood(5)
    assert len(door.admission) == UNDER_LOAD_HANDSHAKES
    assert door.dropped == {"mac2": 5}
    replies = door.outbox.take(10**6)
    assert [recipient for recipient, _ in replies] == [SOURCE] * 5
    last = CookieReply.decode(replies[-1][1][0])
    assert last.receiver == door.number
    assert door.maker.consume_reply(last, 0.0)


def test_under_load_a_valid_mac2_is_admitted_up_to_the_rate() -> None:
    door = Door()
    door.load()
    door.take_cookie(SOURCE)
    staged = len(door.admission)
    door.flood(RATE_BURST + 3, now=0.1)
    assert len(door.admission) - staged == RATE_BURST
    assert door.dropped["rate limit"] == 3
    door.flood(1, now=0.2)
    assert len(door.admission) - staged == RATE_BURST + 1
    assert not door.outbox


def test_one_source_must_prove_its_address_before_there_is_load() -> None:
    """5,000 a second of one sender: it gets the rate of one peer, then a cookie, then the rate of the proven."""
    door = Door()
    for number in range(5000):
        door.flood(1, now=number / 5000)
        door.drain(number / 5000)
    assert not door.admission.is_under_load(1.0)
    assert 5000 - door.dropped["mac2"] <= UNPROVEN_AT_ONCE + UNPROVEN_PER_SECOND
    assert door.dropped["mac2"] >= 4900
    (*_, (_, (reply,))) = door.outbox.take(10**6)
    assert door.maker.consume_reply(CookieReply.decode(reply), 1.0)
    door.flood(100, now=1.0)
    assert len(door.admission) <= RATE_BURST + 1


def test_others_are_admitted_beside_one_that_must_prove_its_address() -> None:
    door = Door()
    door.flood(5000)
    door.drain(0.0)
    for source in strangers(50):
        door.admission.stage(source, door.message(), 0.5)
    assert door.drain(0.5) == 50


def test_a_sender_behind_a_relay_needs_no_cookie() -> None:
    """The relay has authenticated its key. The rate bounds it all the same."""
    door = Door()
    door.load()
    staged = len(door.admission)
    door.flood(UNPROVEN_AT_ONCE + 2, source=DerpAddress(1, OURS))
    assert len(door.admission) - staged == UNPROVEN_AT_ONCE
    assert door.dropped == {"rate limit": 2}
    assert not door.outbox


def test_a_flood_of_sources_that_are_made_up_refuses_nobody_behind_a_relay() -> None:
    """One message again and again, each time from elsewhere: that costs no Diffie-Hellman, so that there is no load."""
    door = Door()
    message = door.message()
    for number in range(2 * MAX_SOURCES):
        source = UdpAddress(f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 9)
        door.admission.stage(source, message, number / (4 * MAX_SOURCES))
    assert not door.admission.is_under_load(0.5)
    staged = len(door.admission)
    door.flood(1, now=0.5, source=DerpAddress(1, OURS))
    assert len(door.admission) == staged + 1


def test_the_same_message_is_staged_once() -> None:
    door = Door()
    message = door.message()
    for number in range(10):
        door.admission.stage(SOURCE, message[:-1] + bytes([number]), 0.0)  # mac2 is not part of what it says
    assert door.drain(0.0) == 1
    assert door.dropped == {"replayed initiation": 9}


def test_what_is_remembered_is_bounded_and_the_latest() -> None:
    door = Door()
    messages = [door.message() for _ in range(3 * MAX_REMEMBERED_HANDSHAKES)]
    for number, message in enumerate(messages):
        door.admission.stage(SOURCE, message, number)
        door.drain(number)
    assert len(door.admission._seen) + len(door.admission._seen_before) <= MAX_REMEMBERED_HANDSHAKES
    now = len(messages) + 10.0
    for message in messages[-20:]:
        door.admission.stage(SOURCE, message, now)
    assert door.dropped == {"replayed initiation": 20}


def test_diffie_hellman_has_a_budget_in_time() -> None:
    door = Door()
    for number in range(MAX_STAGED_HANDSHAKES):
        door.admission.stage(DerpAddress(1, NodeKey(number.to_bytes(32, "big"))), door.message(), 0.0)
    assert door.drain(0.0) == HANDSHAKES_AT_ONCE
    due = door.admission.due_at()
    assert due > 0.0
    assert door.admission.next(due) is not None
    assert door.drain(1.0) == HANDSHAKES_AT_ONCE
    assert sum(door.drain(1.0 + number / 100) for number in range(1, 101)) == pytest.approx(
        HANDSHAKES_PER_SECOND, abs=2
    )


def test_nothing_is_due_without_messages() -> None:
    assert Door().admission.due_at() == math.inf


def test_cookie_replies_are_bounded() -> None:
    door = Door()
    door.load()
    door.flood(3 * COOKIE_REPLIES_AT_ONCE)
    assert len(door.outbox) == COOKIE_REPLIES_AT_ONCE
    assert door.dropped == {"mac2": 3 * COOKIE_REPLIES_AT_ONCE}


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
    door.load()
    admitted = []
    for source in (one, other):
        if isinstance(source, UdpAddress):
            door.take_cookie(source)
        staged = len(door.admission)
        door.flood(RATE_BURST, now=0.1, source=source)
        admitted.append(len(door.admission) - staged)
    assert admitted == [RATE_BURST, 0 if shared else RATE_BURST]


def test_a_new_key_empties_the_queue() -> None:
    door = Door()
    door.flood(3)
    door.admission.replace_checker(CookieChecker(node_public(private_key(2)), entropy(2)))
    assert len(door.admission) == 0
    door.flood(1)
    assert door.dropped == {"mac1": 1}
