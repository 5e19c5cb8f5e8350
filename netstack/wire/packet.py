"""Whole packets of either version: made, and made again from what was reassembled, for errors that quote them.

Source: RFC 7112 (a first fragment has all headers).
Not here: the headers' bytes (`ipv4`, `ipv6`).
"""

from __future__ import annotations

from netstack.wire import ipv4, ipv6, tcp, udp


def build_packet(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    """A packet that is no fragment; its version is that of the addresses."""
    if len(source) == 4:
        return ipv4.header(source, destination, protocol, len(payload)) + payload
    return ipv6.header(source, destination, protocol, len(payload)) + payload


def first_fragment(source: bytes, destination: bytes, identification: int, protocol: int, payload: bytes) -> bytes:
    """The first fragment of a datagram, of which `payload` is the beginning."""
    if len(source) == 16:
        between = ipv6.fragment_header(protocol, 0, more=True, identification=identification)
        return build_packet(source, destination, ipv6.FRAGMENT, between + payload)
    more, size = ipv4.MORE_FRAGMENTS, len(payload)
    return ipv4.header(source, destination, protocol, size, identification=identification, fragment=more) + payload


def lacks_headers(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bool:
    """Whether the payload of an IPv6 first fragment ends before all headers do, that of the protocol above included."""
    whole = build_packet(source, destination, protocol, payload)
    header = ipv6.parse(whole)
    if isinstance(header, str):
        return header == "ipv6: truncated extension header"
    least = tcp.HEADER_SIZE if header.protocol == tcp.PROTOCOL else udp.HEADER_SIZE
    return len(whole) - header.header_size < least
