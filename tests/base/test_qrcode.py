"""The encoder, by a decoder that shares nothing with it, and by matrices of another implementation.

GOLDEN are the first half of the SHA-256 of the rows, as text of 0 and 1, which the Python package qrcode 8 makes of the
same text and mask at level L. 240 others of all versions were compared when this was written.
"""

from __future__ import annotations

import hashlib
import random

import pytest

from tsnet.base.qrcode import BLOCKS, MAX_BYTES, Matrix, encode

URL = "https://login.tailscale.com/a/0123456789ab"
GOLDEN = {
    (URL, 0): "d58170beb5c6b758334344e457d1f009",
    (URL, 5): "7b24f18e5f85d2ac13f510d0a8d10ab0",
    ("A", 0): "f195dbbdf146dae0ddeba600cfb966e6",
    ("A", 5): "e21fc0a220981d787c0db21e8b4639e0",
    ("x" * 200, 0): "71ddfbc79101aebe329e96f941cecd5e",
    ("x" * 200, 5): "8f9480c5e84832683bd12e715482b0db",
}
FORMATS = {
    "111011111000100": 0,
    "111001011110011": 1,
    "111110110101010": 2,
    "111100010011101": 3,
    "110011000101111": 4,
    "110001100011000": 5,
    "110110001000001": 6,
    "110100101110110": 7,
}
"""ISO/IEC 18004 table C.1, of level L."""

VERSIONS = {7: "000111110010010100", 8: "001000010110111100", 9: "001001101010011001", 10: "001010010011010011"}
"""ISO/IEC 18004 table D.1."""

CENTRES = {2: [18], 3: [22], 4: [26], 5: [30], 6: [34], 7: [6, 22, 38], 8: [6, 24, 42], 9: [6, 26, 46], 10: [6, 28, 50]}


@pytest.mark.parametrize(("text", "mask"), GOLDEN)
def test_it_is_what_another_implementation_makes(text: str, mask: int) -> None:
    rows = "\n".join("".join("01"[dark] for dark in row) for row in encode(text, mask))
    assert hashlib.sha256(rows.encode()).hexdigest()[:32] == GOLDEN[text, mask]


@pytest.mark.parametrize("version", BLOCKS)
def test_a_decoder_reads_every_version(version: int) -> None:
    chance = random.Random(version)
    room = sum(BLOCKS[version][1]) - (2 if version < 10 else 3)
    for length in (room, room - 1, room - 9):
        text = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz0123456789:/.?=-") for _ in range(length))
        matrix = encode(text)
        assert len(matrix) == 17 + 4 * version
        assert decode(matrix) == text


@pytest.mark.parametrize("mask", range(8))
def test_a_decoder_reads_every_mask(mask: int) -> None:
    matrix = encode(URL, mask)
    assert FORMATS[format_of(matrix)] == mask
    assert decode(matrix) == URL


def test_other_letters_are_utf_8() -> None:
    assert decode(encode("https://ü.example/☃")) == "https://ü.example/☃"


def test_what_is_too_long() -> None:
    assert decode(encode("x" * MAX_BYTES)) == "x" * MAX_BYTES
    with pytest.raises(ValueError, match="holds 271 bytes, not 272"):
        encode("x" * (MAX_BYTES + 1))


# --- the decoder ----------------------------------------------------------------------------------------------------


def format_of(matrix: Matrix) -> str:
    """Both copies, which must be alike."""
    size = len(matrix)
    around = [(8, x) for x in (0, 1, 2, 3, 4, 5, 7, 8)] + [(y, 8) for y in (7, 5, 4, 3, 2, 1, 0)]
    apart = [(size - 1 - y, 8) for y in range(7)] + [(8, size - 8 + x) for x in range(8)]
    first, second = ("".join("01"[matrix[y][x]] for y, x in places) for places in (around, apart))
    assert first == second
    assert matrix[size - 8][8], "the dark module"
    return first


def is_function(version: int, y: int, x: int) -> bool:
    size = 17 + 4 * version
    if (y < 9 and x < 9) or (y < 9 and x >= size - 8) or (y >= size - 8 and x < 9) or 6 in (y, x):
        return True
    if version >= 7 and ((y < 6 and x >= size - 11) or (x < 6 and y >= size - 11)):
        return True
    last = size - 9
    for cy in CENTRES.get(version, []):
        for cx in CENTRES[version]:
            if abs(y - cy) <= 2 and abs(x - cx) <= 2 and (cy, cx) not in ((6, 6), (6, last + 2), (last + 2, 6)):
                return True
    return False


def is_masked(mask: int, i: int, j: int) -> bool:
    return [
        (i + j) % 2,
        i % 2,
        j % 3,
        (i + j) % 3,
        (i // 2 + j // 3) % 2,
        (i * j) % 2 + (i * j) % 3,
        ((i * j) % 2 + (i * j) % 3) % 2,
        ((i + j) % 2 + (i * j) % 3) % 2,
    ][mask] == 0


def bits_of(matrix: Matrix) -> str:
    """Without masks, in reading order."""
    size, mask = len(matrix), FORMATS[format_of(matrix)]
    version, found, x, y, step = (size - 17) // 4, [], size - 1, size - 1, -1
    while x > 0:
        if x == 6:
            x -= 1
        while 0 <= y < size:
            places = [(y, column) for column in (x, x - 1) if not is_function(version, y, column)]
            found += ["01"[matrix[i][j] ^ is_masked(mask, i, j)] for i, j in places]
            y += step
        y, x, step = y - step, x - 2, -step
    return "".join(found)


def logarithms() -> tuple[list[int], dict[int, int]]:
    powers = [1]
    for _ in range(254):
        double = powers[-1] * 2
        powers.append(double ^ 285 if double > 255 else double)
    return powers, {power: at for at, power in enumerate(powers)}


def check_block(block: list[int], correction: int) -> None:
    """Every syndrome is zero."""
    powers, logs = logarithms()
    for root in range(correction):
        total = 0
        for at, word in enumerate(reversed(block)):
            if word:
                total ^= powers[(logs[word] + root * at) % 255]
        assert total == 0


def decode(matrix: Matrix) -> str:
    version = (len(matrix) - 17) // 4
    if version >= 7:
        corner = "".join("01"[matrix[y][len(matrix) - 11 + x]] for y in reversed(range(6)) for x in reversed(range(3)))
        assert corner == VERSIONS[version]
    bits = bits_of(matrix)
    words = [int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)]
    correction, sizes = BLOCKS[version]
    blocks: list[list[int]] = [[] for _ in sizes]
    stream = iter(words)
    for at in range(max(sizes)):
        for block, size in zip(blocks, sizes, strict=True):
            if at < size:
                block.append(next(stream))
    data = [word for block in blocks for word in block]
    for _ in range(correction):
        for block in blocks:
            block.append(next(stream))
    for block in blocks:
        check_block(block, correction)
    text = "".join(f"{word:08b}" for word in data)
    assert text[:4] == "0100"
    start = 12 if version < 10 else 20
    length = int(text[4:start], 2)
    body = text[start : start + 8 * length]
    return bytes(int(body[at : at + 8], 2) for at in range(0, len(body), 8)).decode()
