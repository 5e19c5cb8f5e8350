"""Disco messages against Go's disco: what each reads of the same bytes, written again."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from tests.interop.harness.oracle import Oracle, case, cases, flipped, pack, unpack
from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.disco.messages import (
    AllocateUDPRelayEndpointRequest,
    AllocateUDPRelayEndpointResponse,
    BindUDPRelayEndpoint,
    BindUDPRelayEndpointAnswer,
    BindUDPRelayEndpointChallenge,
    CallMeMaybe,
    CallMeMaybeVia,
    Message,
    Ping,
    Pong,
    UDPRelayEndpoint,
    decode,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


def endpoint(random: Random) -> UdpAddress:
    return UdpAddress(str(ip_address(random.randbytes(random.choice([4, 16])))), random.randrange(65536))


def endpoints(random: Random, least: int = 0) -> tuple[UdpAddress, ...]:
    return tuple(endpoint(random) for _ in range(random.randint(least, 6)))


def relay(random: Random) -> UDPRelayEndpoint:
    one, other = sorted(DiscoKey(random.randbytes(32)) for _ in range(2))
    lamport_id, vni, bind, steady = (random.getrandbits(bits) for bits in (64, 32, 62, 62))
    server = DiscoKey(random.randbytes(32))
    return UDPRelayEndpoint(server, (one, other), lamport_id, vni, bind, steady, endpoints(random, 1))


def message(random: Random) -> Message:
    kind = random.choice([Ping, Pong, CallMeMaybe, "bind", CallMeMaybeVia, "request", "response"])
    if kind is Ping:
        return Ping(random.randbytes(12), NodeKey(random.randbytes(32)), random.choice([0, 0, 1, 1200]))
    if kind is Pong:
        return Pong(random.randbytes(12), endpoint(random))
    if kind is CallMeMaybe:
        return CallMeMaybe(endpoints(random))
    if kind is CallMeMaybeVia:
        return CallMeMaybeVia(relay(random))
    if kind == "request":
        one, other = sorted(DiscoKey(random.randbytes(32)) for _ in range(2))
        return AllocateUDPRelayEndpointRequest((one, other), random.getrandbits(32))
    if kind == "response":
        return AllocateUDPRelayEndpointResponse(random.getrandbits(32), relay(random))
    bind = random.choice([BindUDPRelayEndpoint, BindUDPRelayEndpointChallenge, BindUDPRelayEndpointAnswer])
    keys = DiscoKey(random.randbytes(32)), random.randbytes(32)
    return bind(random.getrandbits(32), random.getrandbits(32), *keys)


def test_messages(oracle: Oracle) -> None:
    for seed in cases():
        with case("disco messages", seed) as random:
            ours = message(random)
            theirs = oracle.call("disco_parse", data=pack(ours.encode()))
            assert theirs["kind"] == type(ours).__name__
            assert unpack(theirs["data"]) == ours.encode()
            assert decode(ours.encode()) == ours


def test_changed_messages_are_read_alike(oracle: Oracle) -> None:
    """A flipped bit, a cut, bytes of a later version behind: the same message, or both refuse.

    One difference is meant: of a later version's relay messages Go makes empty ones, we refuse them.
    """
    for seed in cases():
        with case("changed disco messages", seed) as random:
            changed = flipped(random, message(random).encode())
            try:
                ours = decode(changed)
            except MalformedError:
                if len(changed) > 1 and changed[1] and changed[0] in (7, 8, 9):
                    continue
                assert oracle.refuses("disco_parse", data=pack(changed)), changed.hex()
            else:
                theirs = oracle.call("disco_parse", data=pack(changed))
                assert theirs["kind"] == type(ours).__name__
                assert unpack(theirs["data"]) == ours.encode(), changed.hex()
