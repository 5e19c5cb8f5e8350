"""One mapping asked for: which replies belong to it, and what they come to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.portmap.router import OUTSIDE, PLACE
from tsnet.base.addresses import UdpAddress
from tsnet.portmap import natpmp, pcp
from tsnet.portmap.asks import PcpAsk, PmpAsk
from tsnet.portmap.lease import Denial, Grant

NONCE = bytes(range(12))
EXTERNAL = UdpAddress(str(OUTSIDE), 6000)
ADDRESS = natpmp.PmpAddress(1, OUTSIDE)
MAPPED = natpmp.PmpMapped(1, PLACE.port, 6000, 7200)


def pcp_mapped(**fields: object) -> pcp.PcpMapped:
    values = {"nonce": NONCE, "protocol": pcp.UDP, "internal": PLACE.port, "external": 6000, "address": OUTSIDE}
    return pcp.PcpMapped(epoch=1, **{"lifetime": 7200, **values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("replies", [(ADDRESS, MAPPED), (MAPPED, ADDRESS), (MAPPED, MAPPED, ADDRESS)])
def test_nat_pmp_wants_an_address_and_a_port(replies: tuple[natpmp.PmpReply, ...]) -> None:
    ask = PmpAsk(PLACE)
    assert [natpmp.decode_request(request) for request in ask.requests()] == [None, (PLACE.port, 0, 7200)]
    for reply in replies[:-1]:
        assert ask.take(reply)
        assert ask.outcome is None
        assert len(ask.requests()) == 1
    assert ask.take(replies[-1])
    assert ask.outcome == Grant(EXTERNAL, 7200.0)
    assert ask.is_made


def test_an_address_that_is_known_is_not_asked_for() -> None:
    ask = PmpAsk(PLACE, 6000, OUTSIDE)
    assert [natpmp.decode_request(request) for request in ask.requests()] == [(PLACE.port, 6000, 7200)]
    assert ask.take(MAPPED)
    assert ask.outcome == Grant(EXTERNAL, 7200.0)
    again = [natpmp.decode_request(request) for request in ask.again(EXTERNAL).requests()]
    assert again == [None, (PLACE.port, 6000, 7200)]
    assert [natpmp.decode_request(request) for request in ask.release()] == [(PLACE.port, 0, 0)]


@pytest.mark.parametrize(
    "reply",
    [
        natpmp.PmpMapped(1, PLACE.port + 1, 6000, 7200),
        natpmp.PmpMapped(1, PLACE.port, 6000, 0),
        natpmp.PmpRefused(1, natpmp.MAP_UDP, natpmp.UNSUPPORTED_VERSION),
    ],
)
def test_what_nat_pmp_says_of_others(reply: natpmp.PmpReply) -> None:
    ask = PmpAsk(PLACE)
    assert not ask.take(reply)
    assert ask.outcome is None
    assert not ask.is_made


def test_nat_pmp_refuses() -> None:
    ask = PmpAsk(PLACE)
    assert ask.take(natpmp.PmpRefused(1, natpmp.MAP_UDP, 4))
    assert ask.outcome == Denial("out of resources")
    assert not ask.is_made


def test_pcp_says_everything_at_once() -> None:
    ask = PcpAsk(PLACE, NONCE)
    [request] = ask.requests()
    assert pcp.decode_request(request) == pcp.PcpMapRequest(PLACE.own, NONCE, PLACE.port, 0, pcp.NO_ADDRESS, 7200)
    assert ask.take(pcp_mapped())
    assert ask.outcome == Grant(EXTERNAL, 7200.0)


def test_pcp_keeps_its_nonce_to_renew_and_to_delete() -> None:
    ask = PcpAsk(PLACE, NONCE).again(EXTERNAL)
    [renewal], [deletion] = ask.requests(), ask.release()
    assert pcp.decode_request(renewal) == pcp.PcpMapRequest(PLACE.own, NONCE, PLACE.port, 6000, OUTSIDE, 7200)
    assert pcp.decode_request(deletion) == pcp.PcpMapRequest(PLACE.own, NONCE, PLACE.port, 6000, OUTSIDE, 0)


@pytest.mark.parametrize(
    "reply",
    [
        pcp_mapped(nonce=bytes(12)),
        pcp_mapped(protocol=6),
        pcp_mapped(internal=1),
        pcp_mapped(lifetime=0),
        pcp.PcpAnnounced(1),
        pcp.PcpRefused(1, pcp.MAP, 2, 0, bytes(12)),
        pcp.PcpRefused(1, pcp.MAP, 2, 0),
        pcp.PcpRefused(1, pcp.ANNOUNCE, 2, 0, NONCE),
    ],
)
def test_what_pcp_says_to_others(reply: pcp.PcpReply) -> None:
    ask = PcpAsk(PLACE, NONCE)
    assert not ask.take(reply)
    assert ask.outcome is None
    assert not ask.is_made


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (pcp.PcpRefused(1, pcp.MAP, 2, 60, NONCE), Denial("not authorised", 60.0)),
        (pcp.PcpRefused(1, pcp.MAP, 12, 1800, NONCE), Denial("another NAT is in between", 1800.0)),
        (pcp.PcpRefused(1, pcp.MAP, pcp.UNSUPPORTED_VERSION, 0), Denial("unsupported version")),
        (pcp_mapped(address=ip_address("2001:db8::1")), Denial("external address not v4")),
        (pcp_mapped(address=ip_address("10.0.0.1")), Denial("external address private")),
        (pcp_mapped(external=0), Denial("external port 0")),
    ],
)
def test_pcp_gives_nothing_of_use(reply: pcp.PcpReply, expected: Denial) -> None:
    ask = PcpAsk(PLACE, NONCE)
    assert ask.take(reply)
    assert ask.outcome == expected
    assert ask.is_made is isinstance(reply, pcp.PcpMapped)
