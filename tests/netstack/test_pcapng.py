"""Captures read back by scapy and by tshark."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from netstack.pcapng import PcapngWriter
from tests.netstack.oracle import IP, UDP, IPv6, Raw
from tests.netstack.pair import Pair, exchange


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


def conversation(v6: bool) -> tuple[bytes, Pair]:
    """A capture of two stacks on a lossy wire: one interface a side, the peer and the path in each comment."""
    pair = Pair(seed=3, loss=0.1)
    exchange(pair, bytes(50_000), bytes(20_000), v6=v6)
    writer = PcapngWriter("a", "b")
    packets = [
        writer.packet(packet, at, interface="ab".index(side), comment=f"peer {side}, path derp-900")
        for at, side, packet in pair.trace
    ]
    return writer.header() + b"".join(packets), pair


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_scapy_reads_a_conversation(v6: bool) -> None:
    data, pair = conversation(v6)
    assert [packet for packet, _ in read(data)] == [packet for _, _, packet in pair.trace]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed (Debian: apt install tshark)")
@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_tshark_reads_a_conversation(tmp_path: Path, v6: bool) -> None:
    """Without plug-ins; it finds every checksum right and the retransmissions that there were."""
    data, pair = conversation(v6)
    path = tmp_path / "capture.pcapng"
    path.write_bytes(data)
    fields = ["frame.interface_name", "frame.comment", "frame.time_epoch", "tcp.checksum.status", "tcp.len"]
    command = ["tshark", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [side for _, side, _ in pair.trace]
    assert {row[1] for row in rows} == {"peer a, path derp-900", "peer b, path derp-900"}
    assert [float(row[2]) for row in rows] == pytest.approx([at for at, _, _ in pair.trace], abs=1e-6)
    assert {row[3] for row in rows} == {"1"}
    assert sum(int(row[4]) for row in rows if row[0] == "a") > 50_000
