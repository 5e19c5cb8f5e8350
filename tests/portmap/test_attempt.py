"""One attempt: the protocols one after the other, and what a router may do to it."""

from __future__ import annotations

import math
import random
from collections import Counter
from ipaddress import IPv4Address

import pytest

from tests.portmap.router import GATEWAY, OUTSIDE, PLACE
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Close, Closed, Datagrams, Effect, Link, OpenUdp
from tsnet.portmap import natpmp, pcp
from tsnet.portmap.asks import PcpAsk, PmpAsk
from tsnet.portmap.attempt import ASK_PATIENCE, MappingAttempt
from tsnet.portmap.epoch import Epoch
from tsnet.portmap.lease import Denial, Grant, Protocol
from tsnet.portmap.probe import GRACE, PATIENCE, Probe

LINK = Link("portmap", "", 1)
ROUTER = UdpAddress(str(GATEWAY), natpmp.PORT)
NONCE = bytes(12)
EXTERNAL = UdpAddress(str(OUTSIDE), 6000)


def new_ask(probe: Probe, protocol: Protocol, address: IPv4Address | None) -> PmpAsk | PcpAsk:
    return PmpAsk(probe.place, 0, address) if protocol is Protocol.NAT_PMP else PcpAsk(probe.place, NONCE)


def attempt(renewed: PmpAsk | PcpAsk | None = None, epochs: dict[Protocol, Epoch] | None = None) -> MappingAttempt:
    return MappingAttempt(
        PLACE,
        LINK,
        now=0.0,
        dropped=Counter(),
        epochs={} if epochs is None else epochs,
        new_ask=new_ask,
        renewed=renewed,
    )


def sent(effects: list[Effect]) -> list[bytes]:
    for effect in effects:
        assert not isinstance(effect, Datagrams) or effect.address == ROUTER
    return [datagram for effect in effects if isinstance(effect, Datagrams) for datagram in effect.datagrams]


def hear(some: MappingAttempt, *replies: bytes, now: float = 0.0, source: UdpAddress = ROUTER) -> None:
    some.receive(Datagrams(LINK, source, replies), now)


PMP_ADDRESS = natpmp.encode_reply(natpmp.PmpAddress(100, OUTSIDE))
PMP_MAPPED = natpmp.encode_reply(natpmp.PmpMapped(100, PLACE.port, 6000, 7200))
PCP_ANNOUNCED = pcp.encode_reply(pcp.PcpAnnounced(100))
PCP_MAPPED = pcp.encode_reply(pcp.PcpMapped(100, NONCE, pcp.UDP, PLACE.port, 6000, OUTSIDE, 7200))


def test_nat_pmp_goes_on_at_once() -> None:
    some = attempt()
    effects = some.transmit(0.0)
    assert effects[0] == OpenUdp(LINK, str(PLACE.own))
    assert sent(effects) == [natpmp.encode_address_request(), pcp.encode_announce(PLACE.own)]
    hear(some, PMP_ADDRESS)
    assert some.deadline() == -math.inf
    assert sent(some.transmit(0.0)) == [natpmp.encode_map_request(PLACE.port, 0, 7200)]
    hear(some, PMP_MAPPED)
    assert some.transmit(0.0) == [Close(LINK)]
    assert some.outcome == Grant(EXTERNAL, 7200.0)
    assert not some.dropped


def test_pcp_waits_a_moment_for_nat_pmp() -> None:
    some = attempt()
    some.transmit(0.0)
    hear(some, PCP_ANNOUNCED)
    assert some.transmit(0.0) == []
    assert some.deadline() == GRACE
    [request] = sent(some.transmit(GRACE))
    assert pcp.decode_request(request) == pcp.PcpMapRequest(PLACE.own, NONCE, PLACE.port, 0, pcp.NO_ADDRESS, 7200)
    hear(some, PCP_MAPPED, now=GRACE)
    some.transmit(GRACE)
    assert some.outcome == Grant(EXTERNAL, 7200.0)


def test_a_router_that_speaks_nat_pmp_alone_may_say_so_to_pcp() -> None:
    some = attempt()
    some.transmit(0.0)
    hear(some, natpmp.encode_reply(natpmp.PmpRefused(100, natpmp.ADDRESS, natpmp.UNSUPPORTED_VERSION)), PMP_ADDRESS)
    assert len(sent(some.transmit(0.0))) == 1
    hear(some, natpmp.encode_reply(natpmp.PmpRefused(100, natpmp.ADDRESS, natpmp.UNSUPPORTED_VERSION)), PMP_MAPPED)
    some.transmit(0.0)
    assert isinstance(some.outcome, Grant)


@pytest.mark.parametrize("result", [pcp.NOT_AUTHORISED, pcp.ADDRESS_MISMATCH])
def test_a_router_that_refuses_both_is_no_use(result: int) -> None:
    some = attempt()
    some.transmit(0.0)
    hear(some, natpmp.encode_reply(natpmp.PmpRefused(100, natpmp.ADDRESS, 2)))
    hear(some, pcp.encode_reply(pcp.PcpRefused(100, pcp.ANNOUNCE, result, 1800)))
    assert some.transmit(0.0) == [Close(LINK)]
    assert some.outcome == Denial(pcp.RESULTS[result], 1800.0)


def test_the_next_protocol_is_tried_and_a_useless_mapping_deleted() -> None:
    some = attempt()
    some.transmit(0.0)
    hear(some, natpmp.encode_reply(natpmp.PmpAddress(100, IPv4Address("10.0.0.1"))), PCP_ANNOUNCED)
    some.transmit(0.0)
    hear(some, PMP_MAPPED)
    deletion, asked = sent(some.transmit(0.0))
    assert natpmp.decode_request(deletion) == (PLACE.port, 0, 0)
    assert pcp.decode_request(asked) is not None
    hear(some, PCP_MAPPED)
    some.transmit(0.0)
    assert isinstance(some.outcome, Grant)


def test_silence_is_told_from_a_refusal() -> None:
    some = attempt()
    some.transmit(0.0)
    now = 0.0
    while some.outcome is None:
        now = some.deadline()
        some.transmit(now)
    assert now == PATIENCE
    assert some.outcome == Denial("no answer", is_silence=True)


def test_a_renewal_is_one_request_that_is_repeated() -> None:
    some = attempt(PcpAsk(PLACE, NONCE, EXTERNAL))
    now, requests = 0.0, sent(some.transmit(0.0))
    while some.outcome is None:
        assert some.deadline() > now
        now = some.deadline()
        requests += sent(some.transmit(now))
    assert (now, len(requests), len(set(requests))) == (ASK_PATIENCE, 3, 1)
    assert some.outcome.is_silence if isinstance(some.outcome, Denial) else False


@pytest.mark.parametrize("made", [PmpAsk(PLACE), PcpAsk(PLACE, NONCE)])
def test_a_router_that_has_restarted_is_noticed_by_a_reply_of_ours_alone(made: PmpAsk | PcpAsk) -> None:
    epochs: dict[Protocol, Epoch] = {made.protocol: Epoch()}
    epochs[made.protocol].heard(50_000, -3600.0)
    some = attempt(made.again(EXTERNAL), epochs)
    some.transmit(0.0)
    hear(some, PCP_ANNOUNCED, natpmp.encode_reply(natpmp.PmpMapped(100, 1, 6000, 7200)))
    assert some.outcome is None
    hear(some, PMP_ADDRESS if isinstance(made, PmpAsk) else PCP_MAPPED)
    assert some.has_restarted
    assert some.transmit(0.0) == [Close(LINK)]


FORGED: dict[str, tuple[UdpAddress, bytes, str]] = {
    "another host": (UdpAddress("192.168.7.66", natpmp.PORT), PMP_MAPPED, "stranger"),
    "another port": (UdpAddress(str(GATEWAY), 5350), PMP_MAPPED, "stranger"),
    "SSDP, which is off": (UdpAddress(str(GATEWAY), 1900), b"HTTP/1.1 200 OK\r\n\r\n", "stranger"),
    "another version": (ROUTER, b"\1" + PMP_MAPPED[1:], "malformed"),
    "nothing": (ROUTER, b"", "malformed"),
    "too long": (ROUTER, PMP_MAPPED + bytes(60_000), "malformed"),
    "PCP, too long": (ROUTER, PCP_MAPPED + bytes(60_000), "malformed"),
    "cut": (ROUTER, PMP_MAPPED[:-1], "malformed"),
    "PCP, cut": (ROUTER, PCP_MAPPED[:-4], "malformed"),
    "another nonce": (ROUTER, PCP_MAPPED[:24] + bytes(11) + b"\1" + PCP_MAPPED[36:], "unasked"),
    "another internal port": (ROUTER, PMP_MAPPED[:8] + b"\0\1" + PMP_MAPPED[10:], "unasked"),
    "a deletion": (ROUTER, PMP_MAPPED[:12] + bytes(4), "unasked"),
    "unasked": (ROUTER, PMP_MAPPED, "unasked"),
}


@pytest.mark.parametrize(("source", "datagram", "reason"), FORGED.values(), ids=FORGED.keys())
def test_what_is_forged_changes_nothing_and_is_not_answered(source: UdpAddress, datagram: bytes, reason: str) -> None:
    some = attempt(PcpAsk(PLACE, NONCE, EXTERNAL))
    some.transmit(0.0)
    for _ in range(100):
        hear(some, datagram, source=source)
        assert some.transmit(0.0) == []
    assert (some.outcome, some.dropped) == (None, {reason: 100})
    hear(some, PCP_MAPPED)
    some.transmit(0.0)
    assert isinstance(some.outcome, Grant)


def test_what_is_replayed_is_not_answered_again() -> None:
    some = attempt()
    some.transmit(0.0)
    hear(some, *[PMP_ADDRESS, PCP_ANNOUNCED] * 500)
    assert len(sent(some.transmit(0.0))) == 1
    hear(some, *[PMP_ADDRESS, PCP_ANNOUNCED] * 500)
    assert some.transmit(0.0) == []
    hear(some, *[PMP_MAPPED] * 500)
    assert some.transmit(0.0) == [Close(LINK)]


def test_noise_from_the_router_never_raises() -> None:
    chance = random.Random(11)
    some, dropped = attempt(), Counter[str]()
    for _ in range(3000):
        if some.outcome is not None:
            dropped += some.dropped
            some = attempt()
        some.transmit(0.0)
        start = chance.choice([b"\0\x80", b"\0\x81", b"\2\x80", b"\2\x81", b""])
        hear(some, start + chance.randbytes(chance.choice([6, 10, 14, 22, 58, 70])))
        some.transmit(0.0)
    assert dropped.keys() == {"malformed", "unasked"}


def test_a_port_that_cannot_be_opened() -> None:
    some = attempt()
    some.transmit(0.0)
    some.receive(Closed(LINK, "no descriptor"), 0.0)
    assert some.transmit(0.0) == []
    assert some.outcome == Denial("no UDP port: no descriptor", is_silence=True)


def test_what_is_abandoned_halfway_is_deleted_unless_it_is_a_mapping_from_before() -> None:
    some = attempt()
    assert some.abandon(0.0) == []
    some.transmit(0.0)
    assert some.abandon(0.0) == [Close(LINK)]
    hear(some, PMP_ADDRESS)
    some.transmit(0.0)
    [deletion] = sent(some.abandon(0.0))
    assert natpmp.decode_request(deletion) == (PLACE.port, 0, 0)
    renewal = attempt(PmpAsk(PLACE, 6000))
    renewal.transmit(0.0)
    assert renewal.abandon(0.0) == [Close(LINK)]
