from __future__ import annotations

import math
from typing import Any

import pytest

from tests.control.scripted import DISCO_KEY, NODE_KEY
from tsnet.base.addresses import UdpAddress
from tsnet.control.client.controlconnection import Exchange
from tsnet.control.client.publisher import ANSWER_TIMEOUT, ASK_AGAIN_AFTER, Publisher

A, B = (UdpAddress("1.2.3.4", 5), 1), (UdpAddress("::1", 6), 2)


def publisher(**hostinfo: Any) -> Publisher:
    return Publisher(DISCO_KEY, {"Hostname": "shop", **hostinfo}, lambda _size: b"\x80\x00")


def told() -> Publisher:
    """One that control knows all about."""
    one = publisher()
    one.set_net_info({"PreferredDERP": 1, "DERPLatency": {"1-v4": 0.1}}, 0.0)
    one.set_endpoints([A, B], 0.0)
    one.sent(1, 0.0)
    one.succeeded(0.0)
    return one


def test_news_are_due_at_once() -> None:
    one = publisher()
    assert one.at == math.inf
    one.set_net_info({"PreferredDERP": 1}, 5.0)
    assert one.at == 5.0


@pytest.mark.parametrize(
    ("change", "news"),
    [
        (lambda one: one.set_net_info({"PreferredDERP": 1, "DERPLatency": {"1-v4": 0.2}}, 9.0), False),
        (lambda one: one.set_net_info({"PreferredDERP": 2}, 9.0), True),
        (lambda one: one.set_endpoints([B, A], 9.0), False),
        (lambda one: one.set_endpoints([A], 9.0), True),
        (lambda one: one.set_hostinfo({"Hostname": "shop"}, 9.0), False),
        (lambda one: one.set_hostinfo({"Hostname": "other"}, 9.0), True),
    ],
)
def test_what_counts_as_news(change: Any, news: bool) -> None:
    one = told()
    change(one)
    assert one.at == (9.0 if news else math.inf)


def test_hostinfo_is_known_once_control_has_stored_the_latest() -> None:
    one = publisher()
    assert not one.hostinfo_is_known
    one.sent(1, 0.0)
    assert not one.hostinfo_is_known
    one.set_hostinfo({"Hostname": "other"}, 1.0)  # while the first is on its way
    one.succeeded(2.0)
    assert not one.hostinfo_is_known
    one.sent(2, 2.0)
    one.failed(3.0)
    assert not one.hostinfo_is_known
    one.sent(3, 4.0)
    one.succeeded(5.0)
    assert one.hostinfo_is_known
    one.set_net_info({"PreferredDERP": 2}, 6.0)
    assert one.hostinfo_is_known


def test_hostinfo_is_not_known_while_control_may_have_stored_another() -> None:
    one = told()
    assert one.hostinfo_is_known
    one.set_hostinfo({"Hostname": "other"}, 1.0)
    one.set_hostinfo({"Hostname": "shop"}, 1.0)
    assert one.hostinfo_is_known, "control was sent nothing else"
    one.set_hostinfo({"Hostname": "other"}, 2.0)
    one.request(NODE_KEY, stream=False)
    one.sent(2, 2.0)
    one.set_hostinfo({"Hostname": "shop"}, 2.1)
    one.lost(2.2)  # whether "other" has arrived nobody knows
    assert not one.hostinfo_is_known
    one.request(NODE_KEY, stream=False)
    one.sent(3, 3.0)
    one.succeeded(3.1)
    assert one.hostinfo_is_known


def test_what_goes_out() -> None:
    one = told()
    lite, poll = one.request(NODE_KEY, stream=False), one.request(NODE_KEY, stream=True)
    assert (lite.omit_peers, lite.stream, poll.omit_peers, poll.stream) == (True, False, False, True)
    for request in (lite, poll):
        assert request.endpoints == (A[0], B[0])
        assert request.endpoint_types == (1, 2)
        assert request.hostinfo["NetInfo"]["DERPLatency"] == {"1-v4": 0.1}
        assert request.disco_key == DISCO_KEY


def test_changes_on_the_way_are_joined_into_the_next_one() -> None:
    one = publisher()
    one.change(0.0)
    one.sent(1, 0.0)
    one.set_endpoints([A], 1.0)
    one.set_net_info({"PreferredDERP": 3}, 2.0)
    assert one.at == math.inf
    assert one.succeeded(3.0) == 0  # what that update said, not what is known now
    assert one.at == 3.0
    one.sent(2, 3.0)
    assert one.succeeded(4.0) == 3
    assert one.at == math.inf


def test_failures_are_repeated_with_a_backoff() -> None:
    one = publisher()
    one.change(0.0)
    waits = []
    for number in range(4):
        one.sent(number, 0.0)
        assert one.answer_by == ANSWER_TIMEOUT
        one.failed(0.0)
        waits.append(one.at)
    assert waits == pytest.approx([0.01, 0.04, 0.09, 0.16])
    assert one.answer_by == math.inf


def test_what_control_asks_for_holds_back_news_and_doubt() -> None:
    one = publisher()
    one.change(0.0)
    one.sent(1, 0.0)
    one.failed(0.0, Exchange("publish", 1, 503, {"retry-after": "20"}))
    assert 20 <= one.at <= 22
    held = one.at
    one.set_endpoints([A], 1.0)
    one.doubt(2.0)
    assert one.at == held
    one.sent(2, held)
    one.succeeded(held)
    one.set_endpoints([B], held + 1)
    assert one.at == held + 1


def test_doubt_asks_rarely() -> None:
    one = told()
    one.doubt(1.0)
    assert one.at == ASK_AGAIN_AFTER
    one.sent(2, ASK_AGAIN_AFTER)
    one.doubt(ASK_AGAIN_AFTER + 0.1)
    assert one.at == math.inf
    one.succeeded(ASK_AGAIN_AFTER + 0.2)
    assert one.at == 2 * ASK_AGAIN_AFTER
    one.doubt(100.0)
    assert one.at == 2 * ASK_AGAIN_AFTER
    one.set_endpoints([], 4.0)
    assert one.at == 4.0


def test_what_was_given_is_not_kept_by_reference() -> None:
    hostinfo = {"Hostname": "shop"}
    one = Publisher(DISCO_KEY, hostinfo, lambda _size: b"\0\0")
    hostinfo["Hostname"] = "other"
    assert one.hostinfo == {"Hostname": "shop"}
