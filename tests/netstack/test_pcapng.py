"""Captures read back by scapy."""

from __future__ import annotations

from io import BytesIO

from netstack.pcapng import PcapngWriter
from tests.netstack.oracle import IP, UDP, IPv6, Raw


def read(data: bytes) -> list[tuple[bytes, float]]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.utils import RawPcapNgReader

        reader = RawPcapNgReader(BytesIO(data))
    return [(bytes(packet), (meta.tshigh * 2**32 + meta.tslow) / meta.tsresol) for packet, meta in reader]


V4 = bytes(IP(src="100.64.0.1", dst="100.64.0.2") / UDP(sport=1, dport=2) / Raw(b"odd"))
V6 = bytes(IPv6(src="fd7a::1", dst="fd7a::2") / UDP(sport=1, dport=2) / Raw(b"even"))


def test_scapy_reads_packets_and_times() -> None:
    writer = PcapngWriter("to peer", "from peer")
    data = (
        writer.header() + writer.packet(V4, 1000.25) + writer.packet(V6, 1_800_000_000.5, interface=1, comment="derp")
    )
    assert read(data) == [(V4, 1000.25), (V6, 1_800_000_000.5)]


def test_without_names_there_is_one_interface() -> None:
    writer = PcapngWriter()
    assert read(writer.header() + writer.packet(V4, 0.0)) == [(V4, 0.0)]


def test_blocks_are_whole_words_and_say_their_length_twice() -> None:
    writer = PcapngWriter("x")
    data = writer.header() + writer.packet(b"12345", 1.0, comment="why")
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        assert length % 4 == 0
        assert data[at + length - 4 : at + length] == data[at + 4 : at + 8]
        at += length
    assert at == len(data)
    assert b"why" in data
