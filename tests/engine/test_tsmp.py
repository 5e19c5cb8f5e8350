"""Golden bytes are laid out as Go's net/packet/tsmp.go marshals them."""

from __future__ import annotations

from struct import pack

import pytest

from netstack.wire import ipv4, ipv6, tcp
from tests.engine.pair import A4, A6, B4, B6
from tsnet.base.keys import DiscoKey
from tsnet.base.malformed import MalformedError
from tsnet.engine import tsmp

GOLDEN = [
    (tsmp.TsmpPing(b"12345678"), b"p12345678"),
    (tsmp.TsmpPong(b"12345678", 0x1234), b"o12345678\x12\x34"),
    (tsmp.DiscoAdvertisement(DiscoKey(bytes(range(32)))), b"a" + bytes(range(32))),
    (tsmp.Rejected(6, "A", 40000, 80), b"!\x06A\x9c\x40\x00\x50"),
    (tsmp.Rejected(6, "F", 40000, 80, maybe_broken=True), b"!\x06F\x9c\x40\x00\x50\x01"),
]


@pytest.mark.parametrize(("message", "raw"), GOLDEN)
def test_both_ways(message: tsmp.Message, raw: bytes) -> None:
    assert tsmp.encode(message) == raw
    assert tsmp.decode(raw) == message
    assert tsmp.decode(raw + b"\xfemore") == message


@pytest.mark.parametrize(("message", "raw"), GOLDEN)
def test_cut_off_at_every_length(message: tsmp.Message, raw: bytes) -> None:
    optional = isinstance(message, tsmp.Rejected) and message.maybe_broken
    for size in range(len(raw) - optional):
        with pytest.raises(MalformedError):
            tsmp.decode(raw[:size])


def test_any_bytes_decode_or_are_malformed() -> None:
    for first in range(256):
        for size in (0, 1, 6, 8, 40):
            try:
                tsmp.decode(bytes([first]) + b"\xff" * size)
            except MalformedError:
                continue


@pytest.mark.parametrize(("source", "target"), [(A4, B4), (A6, B6)])
def test_a_whole_packet(source: object, target: object) -> None:
    packet = tsmp.packet(source.packed, target.packed, tsmp.TsmpPing(bytes(8)))  # type: ignore[attr-defined]
    if packet[0] >> 4 == 4:
        header = ipv4.parse(packet, verified=False)
        assert not isinstance(header, str)
        assert header[5] == tsmp.PROTOCOL
        assert header[6:] == (source.packed, target.packed)  # type: ignore[attr-defined]
    else:
        parsed = ipv6.parse(packet)
        assert not isinstance(parsed, str)
        assert parsed[2] == tsmp.PROTOCOL
    assert packet.endswith(b"p" + bytes(8))


def syn(source: bytes, target: bytes) -> bytes:
    header = ipv4.header if len(source) == 4 else ipv6.header
    segment = pack("!HHIIBBHHH", 40000, 80, 1, 0, 5 << 4, 2, 1000, 0, 0)
    return header(source, target, tcp.PROTOCOL, len(segment)) + segment


@pytest.mark.parametrize(("source", "target"), [(A4.packed, B4.packed), (A6.packed, B6.packed)])
def test_a_rejection_names_the_flow_as_its_sender_sees_it_and_goes_back(source: bytes, target: bytes) -> None:
    answer = tsmp.reject_of(syn(source, target), "A")
    assert answer == tsmp.packet(target, source, tsmp.Rejected(6, "A", 40000, 80))


def test_a_syn_too_short_to_name_its_ports_is_not_answered() -> None:
    assert tsmp.reject_of(syn(A4.packed, B4.packed)[:22], "A") is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (tsmp.POLICY, "policy"),
        (tsmp.SHIELDS_UP, "shields"),
        (tsmp.NOT_FORWARDED, "forward"),
        (tsmp.HOST_FIREWALL, "firewall"),
        (tsmp.UNKNOWN_TRANSIT, "app connector"),
        ("?", "'?'"),
    ],
)
def test_each_reason_in_words(reason: str, words: str) -> None:
    assert words in tsmp.denial(tsmp.DENIED + reason)
