"""Servers that control gives by name: looked up once, remembered, and looked up again when that is old."""

from __future__ import annotations

import itertools
from collections import Counter
from ipaddress import ip_address

from tsnet.base.links import LookedUp, LookUp
from tsnet.netcheck.names import GOOD_FOR, MAX_NAMES, NONE_FOR, PATIENCE, PENDING, ServerNames

HOST = "derp.example"
V4, OTHER, V6 = map(ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::1"))


class Resolver:
    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.names = ServerNames(self.dropped, itertools.count(1))

    def asked(self) -> list[LookUp]:
        effects, self.names.effects = self.names.effects, []
        return [effect for effect in effects if isinstance(effect, LookUp)]

    def answer(self, now: float, *addresses: object) -> None:
        [asked] = self.asked()
        self.names.receive(LookedUp(asked.link, addresses), now)  # type: ignore[arg-type]


def test_a_name_is_looked_up_once_for_both_families() -> None:
    some = Resolver()
    assert some.names.find(HOST, 4, 0.0) is some.names.find(HOST, 6, 0.0) is PENDING
    some.answer(0.1, V6, V4, OTHER)
    assert (some.names.find(HOST, 4, 0.2), some.names.find(HOST, 6, 0.2)) == (V4, V6)
    assert not some.asked()


def test_an_old_answer_serves_until_there_is_a_new_one_and_a_failure_takes_nothing_away() -> None:
    some = Resolver()
    some.names.find(HOST, 4, 0.0)
    some.answer(0.0, V4)
    assert some.names.find(HOST, 4, GOOD_FOR) == V4
    some.answer(GOOD_FOR)
    assert some.names.find(HOST, 4, GOOD_FOR + 1) == V4
    assert not some.asked()
    some.names.find(HOST, 4, GOOD_FOR + NONE_FOR)
    some.answer(GOOD_FOR + NONE_FOR, OTHER)
    assert some.names.find(HOST, 4, GOOD_FOR + NONE_FOR + 1) == OTHER


def test_a_name_without_an_address_is_asked_again_after_a_while() -> None:
    some = Resolver()
    some.names.find(HOST, 4, 0.0)
    some.answer(0.0)
    assert some.names.find(HOST, 4, NONE_FOR - 1) is None
    assert some.names.find(HOST, 4, NONE_FOR) is PENDING


def test_a_resolver_that_says_nothing_is_given_up_and_its_late_answer_is_counted() -> None:
    some = Resolver()
    some.names.find(HOST, 4, 0.0)
    [asked] = some.asked()
    assert some.names.find(HOST, 4, PATIENCE) is None
    some.names.receive(LookedUp(asked.link, (V4,)), PATIENCE + 1)
    assert some.dropped == {"late look-up": 1}
    assert some.names.find(HOST, 4, PATIENCE + 1) is None


def test_on_another_network_names_are_looked_up_anew() -> None:
    some = Resolver()
    some.names.find(HOST, 4, 0.0)
    some.answer(0.0, V4)
    some.names.forget()
    assert some.names.find(HOST, 4, 1.0) == V4
    some.answer(1.0, OTHER)
    assert some.names.find(HOST, 4, 1.0) == OTHER


def test_control_may_name_any_number() -> None:
    some = Resolver()
    for number in range(1000):
        some.names.find(f"derp{number}.example", 4, 0.0)
    assert len(some.names._known) == MAX_NAMES
