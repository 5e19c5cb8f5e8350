"""Own addresses, path MTUs, the outbox, fragments on the way out."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netstack import ip
from netstack.fragments import Reassembler
from netstack.ip import IpLayer, address_of
from netstack.wire import ipv4, ipv6

A4, A6, B4, B6 = (ip_address(text).packed for text in ("100.64.0.1", "fd7a::1", "100.64.0.2", "fd7a::2"))


def new(mtu: int = 1280) -> IpLayer:
    layer = IpLayer(lambda size: bytes(range(size)), mtu)
    layer.set_addresses([address_of(A4), address_of(A6), ip_address("100.64.0.7")])
    return layer


def test_the_source_is_the_first_of_the_family_or_the_address_itself() -> None:
    layer = new()
    assert layer.source_for(B4) == A4
    assert layer.source_for(B6) == A6
    assert layer.source_for(ip_address("100.64.0.7").packed) == ip_address("100.64.0.7").packed
    layer.set_addresses([address_of(A4)])
    assert layer.source_for(B6) is None


def test_path_mtus_only_shrink_and_are_forgotten() -> None:
    layer = new(1500)
    assert layer.path_mtu(B4, 0.0) == 1500
    assert layer.lower_path_mtu(B4, 1300, 0.0) == 1300
    assert layer.lower_path_mtu(B4, 1400, 1.0) == 1300
    assert layer.path_mtu(B4, 500.0) == 1300
    assert layer.path_mtu(B4, 1000.0) == 1500
    assert layer.path_mtu(B6, 500.0) == 1500


@pytest.mark.parametrize(("remote", "floor"), [(B4, 576), (B6, 1280)])
def test_path_mtus_have_a_floor(remote: bytes, floor: int) -> None:
    assert new(1500).lower_path_mtu(remote, 1, 0.0) == floor


def test_the_path_mtu_table_is_bounded() -> None:
    layer = new(1500)
    for number in range(ip.MAX_PATH_MTUS + 5):
        layer.lower_path_mtu(number.to_bytes(4, "big"), 1000, 0.0)
    assert layer.path_mtu((0).to_bytes(4, "big"), 1.0) == 1500
    assert layer.path_mtu((5).to_bytes(4, "big"), 1.0) == 1000


def test_the_outbox_is_bounded() -> None:
    layer = new()
    packet = bytes(1000)
    while layer.send(B4, packet):
        pass
    assert layer.outbox_bytes <= ip.MAX_OUTBOX_BYTES
    assert layer.dropped == {"outbox: full": 1}


def test_a_datagram_goes_with_all_its_fragments_or_not_at_all() -> None:
    layer = new()
    while layer.outbox_bytes < ip.MAX_OUTBOX_BYTES - 50_000:
        layer.send(B4, bytes(1000))
    before = len(layer.outbox)
    assert not layer.send_payload(A4, B4, 17, bytes(60_000), 0.0)
    assert (len(layer.outbox), layer.dropped) == (before, {"outbox: full": 1})
    assert layer.send_payload(A4, B4, 17, bytes(40_000), 0.0)


@pytest.mark.parametrize("size", [0, 1, 1240, 1260, 1261, 5000, 65_000])
@pytest.mark.parametrize("ends", [(A4, B4), (A6, B6)], ids=["v4", "v6"])
def test_what_is_too_long_is_cut_and_can_be_put_together(ends: tuple[bytes, bytes], size: int) -> None:
    layer = new()
    payload = bytes(n & 0xFF for n in range(size))
    assert layer.send_payload(*ends, 17, payload, 0.0)
    reassembler = Reassembler(layer.dropped)
    whole = None
    for destination, packet in layer.outbox:
        assert destination == ends[1]
        assert len(packet) <= 1280
        if len(ends[0]) == 4:
            v4 = ipv4.parse(packet)
            assert not isinstance(v4, str)
            field = v4.fragment
            if field == ipv4.DONT_FRAGMENT:
                whole = packet[20:]
                continue
            offset, more = (field & 0x1FFF) * 8, bool(field & ipv4.MORE_FRAGMENTS)
            whole = reassembler.add((*ends, v4.identification, 17), offset, more, packet[20:], 0.0) or whole
        else:
            v6 = ipv6.parse(packet)
            assert not isinstance(v6, str)
            if v6.fragment is None:
                whole = packet[40:]
                continue
            offset, more, identification, _ = v6.fragment
            whole = reassembler.add((*ends, identification, 17), offset, more, packet[48:], 0.0) or whole
    assert whole == payload
    assert (len(layer.outbox) > 1) is (size > (1260 if len(ends[0]) == 4 else 1240))


def test_two_datagrams_do_not_share_an_identification() -> None:
    layer = new()
    layer.send_payload(A4, B4, 17, bytes(2000), 0.0)
    layer.send_payload(A4, B4, 17, bytes(2000), 0.0)
    assert len({packet[4:6] for _, packet in layer.outbox}) == 2
