"""A text as a QR code: byte mode, error correction level L, versions 1 to 10, which is up to 271 bytes.

    bytes ─► codewords in blocks, each with its Reed-Solomon remainder ─► interleaved ─► laid in pairs of columns,
    upwards and downwards from the lower right ─► one of eight masks, the one that is easiest to read

| part of the matrix       | where                                                                     |
|--------------------------|---------------------------------------------------------------------------|
| finders, separators      | three corners, 8 modules each way                                         |
| timing                   | row 6 and column 6                                                        |
| alignment                | centres at the crossings of ALIGNMENT, but where finders are              |
| format (level, mask)     | twice, around the finders; BCH(15,5), XORed with FORMAT_MASK              |
| version, from 7 on       | twice, beside the upper right and lower left finders; BCH(18,6)           |

Source: ISO/IEC 18004:2015, §§7.3-7.10, tables 7, 9 and E.1.
Not here: how a terminal shows it (`tsnet.edge.io.terminal`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

BLOCKS: dict[int, tuple[int, tuple[int, ...]]] = {
    1: (7, (19,)),
    2: (10, (34,)),
    3: (15, (55,)),
    4: (20, (80,)),
    5: (26, (108,)),
    6: (18, (68, 68)),
    7: (20, (78, 78)),
    8: (24, (97, 97)),
    9: (30, (116, 116)),
    10: (18, (68, 68, 69, 69)),
}
"""By version: the codewords of a block's error correction, and the data codewords of each block."""

ALIGNMENT: dict[int, tuple[int, ...]] = {
    1: (),
    2: (6, 18),
    3: (6, 22),
    4: (6, 26),
    5: (6, 30),
    6: (6, 34),
    7: (6, 22, 38),
    8: (6, 24, 42),
    9: (6, 26, 46),
    10: (6, 28, 50),
}
MASKS: tuple[Callable[[int, int], bool], ...] = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)
MAX_BYTES = 271
BYTE_MODE, LEVEL_L = 0b0100, 0b01
FORMAT_POLYNOMIAL, FORMAT_MASK = 0b10100110111, 0b101010000010010
VERSION_POLYNOMIAL = 0b1111100100101
FIELD_POLYNOMIAL = 0x11D
PADDING = (0xEC, 0x11)

Matrix = list[list[bool]]
"""Rows of modules, without a quiet zone. True is dark."""


def encode(text: str, mask: int | None = None) -> Matrix:
    """The smallest code of this text. mask: 0 to 7; None chooses. Raises ValueError for more than MAX_BYTES bytes."""
    data = text.encode()
    version = next((version for version in BLOCKS if len(data) <= _room(version)), None)
    if version is None:
        raise ValueError(f"a QR code of version 10-L holds {MAX_BYTES} bytes, not {len(data)}")
    stream = _interleaved(version, _data_codewords(version, data))
    candidates = [_drawn(version, stream, number) for number in (range(8) if mask is None else (mask,))]
    return min(candidates, key=_penalty)


def _room(version: int) -> int:
    """How many bytes of text fit."""
    return sum(BLOCKS[version][1]) - (2 if version < 10 else 3)


# --- codewords --------------------------------------------------------------------------------------------------------


def _data_codewords(version: int, data: bytes) -> bytes:
    length_bits = 8 if version < 10 else 16
    bits = f"{BYTE_MODE:04b}{len(data):0{length_bits}b}" + "".join(f"{byte:08b}" for byte in data)
    capacity = sum(BLOCKS[version][1])
    bits += "0" * min(4, 8 * capacity - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return words + bytes(PADDING[at % 2] for at in range(capacity - len(words)))


def _interleaved(version: int, words: bytes) -> bytes:
    """The first codeword of each block, the second one of each, …; then the same of the error correction."""
    correction, sizes = BLOCKS[version]
    blocks, at = list[bytes](), 0
    for size in sizes:
        blocks.append(words[at : at + size])
        at += size
    remainders = [_remainder(block, correction) for block in blocks]
    return bytes([*_in_turn(blocks), *_in_turn(remainders)])


def _in_turn(blocks: Sequence[bytes]) -> Iterator[int]:
    for at in range(max(map(len, blocks))):
        yield from (block[at] for block in blocks if at < len(block))


def _times(one: int, other: int) -> int:
    """In GF(256)."""
    product = 0
    while other:
        product ^= one if other & 1 else 0
        one = one << 1 ^ (FIELD_POLYNOMIAL if one & 0x80 else 0)
        other >>= 1
    return product


def _remainder(block: bytes, degree: int) -> bytes:
    """Of the division by (x - 1)(x - 2)(x - 4)…, the generator of that degree."""
    generator, root = [1], 1
    for _ in range(degree):
        shifted = [*generator, 0]
        for at, factor in enumerate(generator):
            shifted[at + 1] ^= _times(factor, root)
        generator, root = shifted, _times(root, 2)
    rest = bytearray(degree)
    for word in block:
        factor = word ^ rest[0]
        rest = rest[1:] + b"\0"
        for at in range(degree):
            rest[at] ^= _times(generator[at + 1], factor)
    return bytes(rest)


def _with_check(value: int, bits: int, polynomial: int) -> int:
    """The value with its BCH check bits behind it."""
    rest = value << bits
    while rest.bit_length() > bits:
        rest ^= polynomial << rest.bit_length() - bits - 1
    return value << bits | rest


# --- the matrix -------------------------------------------------------------------------------------------------------


def _drawn(version: int, stream: bytes, mask: int) -> Matrix:
    size = 17 + 4 * version
    fixed = _patterns(version, size, mask)
    bits = iter(f"{int.from_bytes(stream):0{8 * len(stream)}b}")
    matrix = [[fixed.get((row, column), False) for column in range(size)] for row in range(size)]
    for row, column in _way(size):
        if (row, column) not in fixed:
            matrix[row][column] = (next(bits, "0") == "1") ^ MASKS[mask](row, column)
    return matrix


def _way(size: int) -> Iterator[tuple[int, int]]:
    """Where data may lie, in its order: pairs of columns, upwards and downwards in turn; column 6 is left out."""
    rows, upwards = range(size), True
    for right in (*range(size - 1, 6, -2), 5, 3, 1):
        for row in reversed(rows) if upwards else rows:
            yield row, right
            yield row, right - 1
        upwards = not upwards


def _patterns(version: int, size: int, mask: int) -> dict[tuple[int, int], bool]:
    """Every module that is no data."""
    found = {}
    for at in range(size):
        found[6, at] = found[at, 6] = at % 2 == 0
    for row, column in ((3, 3), (3, size - 4), (size - 4, 3)):
        _square(found, row, column, 4, (0, 1, 3), size)
    centres = ALIGNMENT[version]
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    for row in centres:
        for column in centres:
            if (row, column) not in corners:
                _square(found, row, column, 2, (0, 2), size)
    _format(found, size, mask)
    if version >= 7:
        bits = _with_check(version, 12, VERSION_POLYNOMIAL)
        for at in range(18):
            one = size - 11 + at % 3, at // 3
            found[one] = found[one[::-1]] = bool(bits >> at & 1)
    return found


def _square(
    found: dict[tuple[int, int], bool], row: int, column: int, reach: int, dark: tuple[int, ...], size: int
) -> None:
    """Rings around a centre; `dark` are the distances of those that are dark."""
    for y in range(max(0, row - reach), min(size, row + reach + 1)):
        for x in range(max(0, column - reach), min(size, column + reach + 1)):
            found[y, x] = max(abs(y - row), abs(x - column)) in dark


def _format(found: dict[tuple[int, int], bool], size: int, mask: int) -> None:
    bits = _with_check(LEVEL_L << 3 | mask, 10, FORMAT_POLYNOMIAL) ^ FORMAT_MASK
    beside = [0, 1, 2, 3, 4, 5, 7, 8]  # of a finder, without the timing
    for at in range(15):
        bit = bool(bits >> at & 1)
        if at < 8:
            found[beside[at], 8] = found[8, size - 1 - at] = bit
        else:
            found[8, beside[14 - at]] = found[size - 15 + at, 8] = bit
    found[size - 8, 8] = True


# --- which mask is easiest to read ------------------------------------------------------------------------------------

_FINDER_LIKE = ("10111010000", "00001011101")


def _penalty(matrix: Matrix) -> int:
    size = len(matrix)
    lines = ["".join("01"[dark] for dark in line) for line in (*matrix, *zip(*matrix, strict=True))]
    points = sum(_of_runs(line) + 40 * _looks_like_finder(line) for line in lines)
    for row, below in itertools.pairwise(matrix):
        points += 3 * sum(row[x] == row[x + 1] == below[x] == below[x + 1] for x in range(size - 1))
    percent = 100 * sum(map(sum, matrix)) / size**2
    return points + 10 * int(abs(percent - 50) / 5)


def _of_runs(line: str) -> int:
    """3 for five modules of one colour in line, one more for each that follows."""
    return sum(len(run) - 2 for run in line.replace("01", "0 1").replace("10", "1 0").split() if len(run) >= 5)


def _looks_like_finder(line: str) -> int:
    return sum(line.startswith(_FINDER_LIKE, at) for at in range(len(line) - 10))
