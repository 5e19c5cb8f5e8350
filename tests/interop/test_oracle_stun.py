"""STUN against Go's net/stun, both sides."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from tests.interop.harness.oracle import Oracle, case, cases, flipped, pack, unpack
from tsnet.base.addresses import UdpAddress
from tsnet.base.malformed import MalformedError
from tsnet.netcheck import stun

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


def random_address(random: Random) -> UdpAddress:
    return UdpAddress(str(ip_address(random.randbytes(random.choice([4, 16])))), random.randrange(65536))


def text(address: UdpAddress) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def test_requests(oracle: Oracle) -> None:
    for seed in cases():
        with case("stun requests", seed) as random:
            tx_id = random.randbytes(12)
            request = stun.encode_request(tx_id)
            assert oracle.bytes("stun_request", tx_id=pack(tx_id)) == request
            assert unpack(oracle.call("stun_parse_request", data=pack(request))["tx_id"]) == tx_id


def test_responses(oracle: Oracle) -> None:
    for seed in cases():
        with case("stun responses", seed) as random:
            tx_id, address = random.randbytes(12), random_address(random)
            response = stun.encode_response(tx_id, address)
            assert oracle.bytes("stun_response", tx_id=pack(tx_id), address=text(address)) == response
            read = oracle.call("stun_parse_response", data=pack(response))
            assert (unpack(read["tx_id"]), read["address"]) == (tx_id, text(address))
            assert stun.decode_response(response) == (tx_id, address)


def test_broken_requests_are_refused_alike(oracle: Oracle) -> None:
    for seed in cases():
        with case("broken stun requests", seed) as random:
            broken = flipped(random, stun.encode_request(random.randbytes(12)))
            assert stun.is_stun(broken) == oracle.call("stun_is", data=pack(broken))
            try:
                tx_id = stun.decode_request(broken)
            except MalformedError:
                assert oracle.refuses("stun_parse_request", data=pack(broken)), broken.hex()
            else:
                assert unpack(oracle.call("stun_parse_request", data=pack(broken))["tx_id"]) == tx_id


def test_broken_responses_are_refused_alike(oracle: Oracle) -> None:
    for seed in cases():
        with case("broken stun responses", seed) as random:
            broken = flipped(random, stun.encode_response(random.randbytes(12), random_address(random)))
            try:
                tx_id, address = stun.decode_response(broken)
            except MalformedError:
                assert oracle.refuses("stun_parse_response", data=pack(broken)), broken.hex()
            else:
                read = oracle.call("stun_parse_response", data=pack(broken))
                assert (unpack(read["tx_id"]), read["address"]) == (tx_id, text(address))
