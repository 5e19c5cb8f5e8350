"""What is rejected is kept for control, in bounds, and only while control wants it."""

from __future__ import annotations

import json
from ipaddress import ip_address

import attrs
import pytest

from netstack.wire import ipv4
from tests.engine.pair import A4, A6, B4, B6
from tests.house import House
from tsnet.base.addresses import IPAddress
from tsnet.control.client.c2n import MAX_ANSWER, Shown, answer
from tsnet.engine import tsmp
from tsnet.engine.rejectedflows import ANSWER_BY, MAX_ENTRIES, MAX_OPENING, NO_PEER, TIMED_OUT, End, RejectedFlows
from tsnet.errors import DeniedByPolicy

NOW, WALL = 100.0, 1_700_000_000.0
TELLS = {"A": "acl", "S": "shields", "F": "host-ip-forwarding", "W": "host-firewall", "T": "unknown", "?": "unknown"}


def flows(why: str = TIMED_OUT) -> RejectedFlows:
    made = RejectedFlows(lambda _address: why, WALL - NOW)
    made.want(wanted=True)
    return made


def refused(port: int = 80, reason: str = "A") -> tsmp.Rejected:
    return tsmp.Rejected(6, reason, 40_000, port)


def syn(source: IPAddress, port: int = 40_000) -> bytes:
    ports = port.to_bytes(2) + (80).to_bytes(2)
    return ipv4.header(source.packed, A4.packed, 6, 20) + ports + bytes(16)


@attrs.define(eq=False)
class Dial:
    state: str = "SYN_SENT"
    local: End = (A4, 40_000)
    remote: End = (B4, 80)


@pytest.mark.parametrize(("reason", "word"), TELLS.items())
def test_what_a_peer_says(reason: str, word: str) -> None:
    kept = flows()
    kept.told(A4, B4, refused(reason=reason), NOW)
    assert kept.shown == {
        "Enabled": True,
        "Outgoing": [
            {
                "First": "2023-11-14T22:13:20Z", "Last": "2023-11-14T22:13:20Z", "Count": 1, "Direction": "outgoing",
                "Proto": 6, "Src": f"{A4}:40000", "Dst": f"{B4}:80", "Reason": word, "Source": "tsmp_recv",
                "MaybeBroken": False,
            }
        ],
        "Incoming": [],
    }  # fmt: skip


def test_what_comes_again_is_counted_and_the_last_one_is_shown_last() -> None:
    kept = flows()
    kept.told(A4, B4, refused(80), NOW)
    kept.told(A6, B6, refused(80), NOW + 1)
    kept.told(A4, B4, refused(443), NOW + 2)
    first, second = kept.shown["Outgoing"]
    assert (first["Src"], first["Dst"], first["Count"]) == (f"[{A6}]:40000", f"[{B6}]:80", 1)
    assert (second["Dst"], second["Count"]) == (f"{B4}:443", 2)
    assert (second["First"], second["Last"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:13:22Z")


def test_whom_we_reject() -> None:
    kept = flows()
    kept.sent(syn(B4), tsmp.SHIELDS_UP, NOW)
    kept.sent(b"\x60" + bytes(60), tsmp.POLICY, NOW)  # it would be IPv6, which nobody is told of
    (found,) = kept.shown["Incoming"]
    told = [found[name] for name in ("Src", "Dst", "Reason", "Source", "Direction")]
    assert told == [f"{B4}:40000", f"{A4}:80", "shields", "tsmp_sent", "incoming"]


@pytest.mark.parametrize(("state", "count"), [("SYN_SENT", 1), ("ESTABLISHED", 0), ("CLOSED", 0)])
def test_a_dial_that_nobody_answers(state: str, count: int) -> None:
    kept = flows(NO_PEER)
    kept.opens(Dial(state), NOW)
    assert kept.deadline() == NOW + ANSWER_BY
    kept.tick(NOW + ANSWER_BY - 1)
    assert kept.shown["Outgoing"] == []
    kept.tick(NOW + ANSWER_BY)
    assert [(each["Reason"], each["Source"]) for each in kept.shown["Outgoing"]] == [
        ("no-peer", "pendopen_timeout")
    ] * count
    assert kept.deadline() > 1e9


def test_nothing_is_kept_while_control_does_not_want_it() -> None:
    kept = flows()
    kept.told(A4, B4, refused(), NOW)
    for _ in range(2):
        kept.want(wanted=False)
        kept.told(A4, B4, refused(), NOW)
        kept.sent(syn(B4), tsmp.POLICY, NOW)
        kept.opens(Dial(), NOW)
        kept.tick(NOW + 60)
        assert kept.shown == {"Enabled": False, "Outgoing": [], "Incoming": []}
        kept.want(wanted=True)
        assert kept.shown == {"Enabled": True, "Outgoing": [], "Incoming": []}


def test_a_peer_cannot_make_it_grow() -> None:
    kept = flows()
    for number in range(2 * MAX_ENTRIES):
        other = ip_address(f"100.65.{number >> 8}.{number & 255}")
        kept.sent(syn(other), tsmp.POLICY, NOW)
        kept.told(A4, other, refused(reason="S"), NOW)
    for _ in range(2 * MAX_OPENING):
        kept.opens(Dial(), NOW)
    assert len(kept._opening) == MAX_OPENING
    for entries in (kept.shown["Outgoing"], kept.shown["Incoming"]):
        assert len(entries) == MAX_ENTRIES
        assert "100.65.1.255" in entries[-1]["Src"] + entries[-1]["Dst"]
    said = answer(b"GET /debug/rejects HTTP/1.1\r\nHost: c2n\r\n\r\n", Shown(rejected=kept.shown))
    assert said.startswith(b"HTTP/1.1 200")
    assert len(said) < MAX_ANSWER
    assert json.loads(said.partition(b"\r\n\r\n")[2]) == kept.shown


def test_both_ends_of_a_dial_that_is_rejected_keep_it() -> None:
    house = House()
    a, b = house.up("a", shields_up=True), house.up("b")

    ours, theirs = a.node.engine.rejected_flows, b.node.engine.rejected_flows
    ours.want(wanted=True)
    theirs.want(wanted=True)
    assert isinstance(house.failure(b.dial("a", 80, 5)), DeniedByPolicy)
    (incoming,), (outgoing,) = ours.shown["Incoming"], theirs.shown["Outgoing"]
    assert (incoming["Reason"], outgoing["Reason"]) == ("shields", "shields")
    assert (incoming["Src"], incoming["Dst"]) == (outgoing["Src"], outgoing["Dst"])
    house.run(60)
    assert b.node.control.rejected == theirs.shown, "control's client has it when control asks"
