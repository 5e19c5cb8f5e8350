"""IP packets for the filter's tests: headers right, checksums left zero, for nobody here looks at them."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack

TCP, UDP, ICMP, ICMPV6, TSMP, SCTP, GRE, IGMP = 6, 17, 1, 58, 99, 132, 47, 2
SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04


def ip(protocol: int, source: str, destination: str, payload: bytes = b"", *, fragment: int = 0) -> bytes:
    """fragment: the IPv4 flags and offset field."""
    src, dst = ip_address(source).packed, ip_address(destination).packed
    if len(src) == 16:
        return pack(">IHBB", 6 << 28, len(payload), protocol, 64) + src + dst + payload
    return pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0) + src + dst + payload


def tcp(source: str, destination: str, port: int, flags: int = SYN, *, from_port: int = 5000) -> bytes:
    return ip(TCP, source, destination, pack(">HHIIBBHHH", from_port, port, 1, 2, 0x50, flags, 65535, 0, 0))


def udp(source: str, destination: str, port: int, from_port: int = 5000, *, protocol: int = UDP) -> bytes:
    return ip(protocol, source, destination, pack(">HHHH", from_port, port, 12, 0) + b"data")


def icmp(source: str, destination: str, kind: int, code: int = 0) -> bytes:
    protocol = ICMPV6 if ":" in source else ICMP
    return ip(protocol, source, destination, bytes([kind, code]) + bytes(6))
