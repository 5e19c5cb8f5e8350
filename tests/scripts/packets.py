"""Packets, as text.

[ecn] [sport > dport:] FLAGS first:last(size) [ack N] [win N] [urg N] [<options>]
[ecn] [[first:last(size)]] icmp TYPE [CODE] [mtu N]
[ecn] udp (size)

FLAGS     F S R P . (ACK) U E (ECE) W (CWR), or - for none
options   mss N | nop | eol | sackOK | wscale N | TS val N ecr N | sack L:R L:R … ; `...` for whatever they are
ecn       [noecn] [ect0] [ect1] [ce]
"""

from __future__ import annotations

from tests.scripts.cursor import Cursor
from tests.scripts.script import FLAG_LETTERS, Icmp, Option, Packet, ScriptError, Segment, Udp

_ECN = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}
_FLAGS = r"(-|[FSRPUEW.]+)(?=\s)"


def parse_packet(cursor: Cursor, *, inbound: bool) -> Packet:
    """What stands behind `<` or `>`."""
    ecn = cursor.take(r"\[(noecn|ect0|ect1|ce)\]")
    quoted = _parse_quoted(cursor)
    if cursor.take(r"icmp\b"):
        return _parse_icmp(cursor, inbound, quoted)
    if cursor.take(r"udp\b"):
        cursor.need(r"\(", "the size in parentheses")
        size = cursor.number()
        cursor.need(r"\)", ")")
        return Udp(inbound, size)
    return _parse_segment(cursor, inbound, None if ecn is None else _ECN[ecn])


def _parse_segment(cursor: Cursor, inbound: bool, ecn: int | None) -> Segment:
    ports = cursor.take(r"(\d+\s*>\s*\d+)\s*:")
    letters = cursor.need(_FLAGS, "flags")
    seq, size = _parse_sequence(cursor)
    ack = cursor.number() if cursor.take(r"ack\b") else None
    window = cursor.number() if cursor.take(r"win\b") else None
    urgent = cursor.number() if cursor.take(r"urg\b") else 0
    options = _parse_options(cursor) if cursor.take("<(?=[^\n]*>)") else ()
    return Segment(
        inbound=inbound,
        flags=0 if letters == "-" else sum(FLAG_LETTERS[letter] for letter in set(letters)),
        seq=seq,
        size=size,
        ack=ack,
        window=window,
        urgent=urgent,
        options=options,
        ecn=ecn,
        ports=None if ports is None else _ports(ports),
    )


def _ports(text: str) -> tuple[int, int]:
    source, _, destination = text.partition(">")
    return int(source), int(destination)


def _parse_sequence(cursor: Cursor) -> tuple[int, int]:
    first = cursor.number("a sequence number")
    cursor.need(":", ":")
    last = cursor.number("a sequence number")
    cursor.need(r"\(", "the size in parentheses")
    size = cursor.number()
    cursor.need(r"\)", ")")
    if (last - first) % 2**32 != size:
        raise ScriptError(f"line {cursor.line}: {first}:{last} is not {size} long")
    return first, size


def _parse_quoted(cursor: Cursor) -> tuple[int, int] | None:
    if not cursor.take(r"\["):
        return None
    quoted = _parse_sequence(cursor)
    cursor.need(r"\]", "]")
    return quoted


def _parse_options(cursor: Cursor) -> tuple[Option, ...] | None:
    if cursor.take(r"\.\.\.\s*>"):
        return None
    options: list[Option] = []
    while not cursor.take(">"):
        options.append(_parse_option(cursor))
        if not cursor.take(","):
            cursor.need(">", "a comma or the end of the options")
            break
    return tuple(options)


def _parse_option(cursor: Cursor) -> Option:
    name = cursor.need(r"(mss|nop|eol|sackOK|sack|wscale|TS)\b", "a TCP option")
    if name in ("mss", "wscale"):
        return name, cursor.number()
    if name == "TS":
        cursor.need(r"val\b", "val")
        value = cursor.number()
        cursor.need(r"ecr\b", "ecr")
        return name, value, cursor.number()
    if name != "sack":
        return (name,)
    blocks: list[tuple[int, int]] = []
    while (left := cursor.take(r"\d+(?=\s*:)")) is not None:
        cursor.need(":", ":")
        blocks.append((int(left), cursor.number()))
    return name, *blocks


def _parse_icmp(cursor: Cursor, inbound: bool, quoted: tuple[int, int] | None) -> Icmp:
    kind = cursor.need(r"\w+", "a type of ICMP")
    code = cursor.take(r"(?!mtu\b)[a-z_]\w*(?=[^\S\n]|\n)")
    mtu = cursor.number() if cursor.take(r"mtu\b") else 0
    return Icmp(inbound, kind, code, mtu, quoted or _parse_quoted(cursor))
