"""The internet checksum: the complement of the one's complement sum of 16-bit words.

Since 2**16 = 1 (mod 65535), a whole number read big-endian is congruent to the sum of its 16-bit words. So the sum
of a kilobyte is one `int.from_bytes` and one `%`; sequence numbers, addresses and lengths go into the same sum as
they are. A long integer costs more than its length, hence the pieces.

    partial(data)            an integer congruent to the sum of its words, an odd last byte padded with zero
    finish(total)            the field to send; a packet that carries it sums to 0 (mod 65535)
    folds(size)              how to make such a number of `size` bytes eight times shorter before the `%`
    sums(data, size)         `partial` of each whole piece of a long run

numpy is used in `sums` alone, only where the application has imported it already, with identical results.

Source: RFC 1071; RFC 768 for the zero that UDP may not send (`finish_udp`).
Not here: which bytes are summed (ipv4, udp, tcp, icmp).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

_PIECE = 2048
"""Above this, pieces: cheaper than one large integer."""


def partial(data: bytes) -> int:
    """An integer congruent, modulo 65535, to the sum of the 16-bit words of data."""
    length = len(data)
    if length <= 64:
        total = int.from_bytes(data, "big")
        return total << 8 if length & 1 else total
    if length & 1:
        return partial(data[:-1]) + (data[-1] << 8)
    if length <= _PIECE:
        half = length >> 2 << 1
        return int.from_bytes(data[:half], "big") + int.from_bytes(data[half:], "big")
    return sum([int.from_bytes(data[at : at + 1024], "big") for at in range(0, length, 1024)])


def finish(total: int) -> int:
    """The checksum field for a sum made with a zero in its place."""
    return -total % 65535 if total else 65535


def finish_udp(total: int) -> int:
    """As `finish`, but a computed zero goes out as 0xFFFF: in UDP, zero says "no checksum"."""
    return -total % 65535 or 65535


@functools.cache
def folds(size: int) -> tuple[int, int, int, int, int, int]:
    """Three shifts, each with its mask: `(n >> shift) + (n & mask)` halves the number and keeps it modulo 65535.

    Shifts are multiples of 16, which is why; a division costs several times what the three steps do.
    """
    half, quarter, eighth = (-(-size * 8 // (parts * 16)) * 16 for parts in (2, 4, 8))
    return half, (1 << half) - 1, quarter, (1 << quarter) - 1, eighth, (1 << eighth) - 1


def sums(data: bytes, size: int) -> Sequence[int] | None:
    """`partial` of each of the `len(data) // size` whole pieces, at once; None where that would be no faster."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or size % 4 or len(data) < 4 * size:
        return None
    count = len(data) // size
    words = numpy.frombuffer(data, "<u4", count * size // 4).reshape(count, size // 4)
    totals = words.sum(axis=1, dtype="u8") % 65535
    return ((totals & 0xFF) << 8 | totals >> 8).tolist()  # type: ignore[no-any-return]
