"""A login URL for a person at a terminal: the URL, and a QR code of it for the telephone where the terminal shows one.

A code is drawn with half blocks, two modules a character, light on dark whatever the terminal's colours are. It is left
out where it would not be seen as one: no terminal, TERM=dumb, an encoding without blocks, too few columns, a long URL.

Not here: the code itself (`base.qrcode`), when a URL is shown (`tsnet.base_server`, `tsnet.cli.login`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO

from tsnet.base.printable import printable

QUIET = 2
"""Light modules around a code. The standard asks for four; readers of today do with less, and lines are few."""

HALVES = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}
"""The character of two modules, one above the other. Light ones are drawn: a terminal's ground is mostly dark."""

WHITE_ON_BLACK, PLAIN = "\x1b[97;40m", "\x1b[0m"


def login_message(hostname: str, url: str, stream: TextIO) -> str:
    """What to show on this stream, ending with a line break."""
    text = f"To log {hostname} in, visit:\n\n    {printable(url)}\n"
    return text + "".join(f"\n{line}" for line in code_lines(url, stream)) + "\n"


def code_lines(url: str, stream: TextIO) -> list[str]:
    """The lines of a QR code; none where the stream cannot show it."""
    columns = _columns(stream)
    if not columns or os.environ.get("TERM") == "dumb" or not _has_blocks(stream):
        return []
    from tsnet.base.qrcode import encode

    try:
        matrix = encode(url)
    except ValueError:
        return []
    if len(matrix) + 2 * QUIET > columns:
        return []
    begin, end = ("", "") if os.environ.get("NO_COLOR") else (WHITE_ON_BLACK, PLAIN)
    return [f"{begin}{line}{end}" for line in halves(matrix)]


def halves(matrix: list[list[bool]]) -> Iterator[str]:
    """Two rows of modules a line, with the quiet zone."""
    width = len(matrix) + 2 * QUIET
    light = [False] * width
    rows = [light] * QUIET + [[False] * QUIET + row + [False] * QUIET for row in matrix] + [light] * QUIET
    rows += [light] * (len(rows) % 2)
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        yield "".join(HALVES[pair] for pair in zip(upper, lower, strict=True))


def _columns(stream: TextIO) -> int:
    """0 if it is no terminal. One that does not tell its size has the usual one."""
    if not stream.isatty():
        return 0
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _has_blocks(stream: TextIO) -> bool:
    try:
        "".join(HALVES.values()).encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
