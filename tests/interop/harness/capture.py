"""Captures of a machine's UDP: by tcpdump, read here, and opened by Wireshark with a node's key log.

    capture = capturing(scene, place.namespace, "ours.pcap")      # until it is stopped
    datagrams(path)                                               # WireGuard's, in order
    opened(path, keys)                                            # what Wireshark made of each

The node, and a Go peer, must run with NO_OFFLOAD: a capture shows what the kernel joins as one datagram.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections import defaultdict
from pathlib import Path

import attrs

from tests.interop.harness.process import Process
from tests.interop.harness.scene import Scene
from tsnet.base.addresses import UdpAddress

NO_OFFLOAD = {"TS_DEBUG_DISABLE_UDP_GSO": "1", "TS_DEBUG_DISABLE_UDP_GRO": "1"}
INITIATION, RESPONSE, COOKIE, TRANSPORT = 1, 2, 3, 4
SNAPSHOT, ETHERNET = 0xA1B2C3D4, 1


@attrs.frozen
class Datagram:
    """One of WireGuard, as it was on the wire. at: Unix time."""

    at: float
    source: UdpAddress
    data: bytes

    @property
    def kind(self) -> int:
        return self.data[0]

    @property
    def counter(self) -> int:
        """Of one that carries data."""
        return int.from_bytes(self.data[8:16], "little")


def capturing(scene: Scene, namespace: str, name: str) -> Process:
    """tcpdump of a machine's UDP, into the scene's folder; stop it before the file is read."""
    path = scene.folder / name
    shell = f"exec tcpdump --immediate-mode -B 16384 -i eth0 -U -w - udp > {path}"  # it may write nowhere itself
    capture = scene.run("tcpdump", ["sh", "-c", shell], namespace=namespace)
    capture.wait_until(lambda: "listening on" in capture.log(), "listening")
    return capture


def datagrams(pcap: Path) -> list[Datagram]:
    """Those of WireGuard in a capture of Ethernet with IPv4."""
    data, found = pcap.read_bytes(), list[Datagram]()
    assert struct.unpack_from("<I16xI", data) == (SNAPSHOT, ETHERNET)
    at = 24
    while at < len(data):
        seconds, micros, size, _ = struct.unpack_from("<4I", data, at)
        frame = data[at + 16 : at + 16 + size]
        at += 16 + size
        header = 14 + (frame[14] & 15) * 4
        source = UdpAddress(socket.inet_ntoa(frame[26:30]), int.from_bytes(frame[header : header + 2]))
        payload = frame[header + 8 :]
        if payload[:1] in (b"\1", b"\2", b"\3", b"\4") and payload[1:4] == bytes(3):
            found.append(Datagram(seconds + micros / 1e6, source, payload))
    return found


def agreed_elsewhere(found: list[Datagram]) -> set[bytes]:
    """The receivers, four bytes each, of sessions whose response is not in the capture: it went by DERP, within TLS. A
    node without a trusted path sends it so. Two receivers are one session."""
    known = {part for each in found if each.kind == RESPONSE for part in (each.data[4:8], each.data[8:12])}
    return {each.data[4:8] for each in found if each.kind == TRANSPORT} - known


def opened(pcap: Path, keys: Path, environment: dict[str, str], *, elsewhere: int = 0) -> dict[str, int]:
    """How many datagrams Wireshark has opened with the keys, by kind. It must have opened every one of the capture.

    elsewhere: so many sessions may have been agreed upon by DERP, and nobody can open those.
    """
    found = datagrams(pcap)
    lost = agreed_elsewhere(found)
    assert len(lost) <= 2 * elsewhere, f"{len(lost)} receivers of sessions without a response"
    fields = ["wg.type", "wg.handshake_ok", "wg.keepalive", "frame.protocols", "wg.receiver"]
    command = ["tshark", "-r", str(pcap), "-o", f"wg.keylog_file:{keys}", "-Y", "wg", "-T", "fields"]
    for port in {datagram.source.port for datagram in found}:
        command += ["-d", f"udp.port=={port},wg"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    counts: dict[str, int] = defaultdict(int)
    for line in done.stdout.splitlines():
        kind, handshake_ok, keepalive, protocols, receiver = line.split("\t")
        number = int(kind.split(",")[0], 0)
        if number == INITIATION:
            counts["initiations"] += 1
        elif number == RESPONSE:
            assert handshake_ok in ("1", "True"), line
            counts["responses"] += 1
        elif number == TRANSPORT and int(receiver, 0).to_bytes(4, "little") in lost:
            counts["elsewhere"] += 1
        elif number == TRANSPORT:
            assert keepalive or "wg:ip" in protocols, f"not opened: {line}"
            counts["keepalives" if keepalive else "packets"] += 1
        else:
            counts["cookies"] += 1
    assert sum(counts.values()) == len(found)
    return counts


def assert_no_counter_repeats(found: list[Datagram]) -> None:
    """Neither ours nor the peer's, under any key: a nonce that is used twice gives the traffic away."""
    seen: dict[tuple[UdpAddress, bytes], set[int]] = defaultdict(set)
    for datagram in found:
        if datagram.kind == TRANSPORT:
            counters = seen[datagram.source, datagram.data[4:8]]
            assert datagram.counter not in counters
            counters.add(datagram.counter)
    assert seen
