from __future__ import annotations

import sys

import pytest

from tsnet.base.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("shop.tail0abc.ts.net", "shop.tail0abc.ts.net"),
        ("Zoë’s Büro 日本語 😀", "Zoë’s Büro 日本語 😀"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),  # clears the screen, names the window
        ("\x9b2J", r"\x9b2J"),  # the same in one byte
        ("a\nroot: b", "a root: b"),
        ("a\r\nb", "a  b"),
        ("a\u2028b\u2029c\x85d\x0be", "a b c d e"),  # what else begins a line somewhere
        ("\b\b\x7f\0", r"\x08\x08\x7f\x00"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),  # written from right to left
        ("\u2066a\u2069\u200b\ufeff", r"\u2066a\u2069\u200b\ufeff"),
        ("half \ud800", r"half \ud800"),
        ("\U000e0001", r"\U000e0001"),  # a tag, which no terminal shows
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_every_character_is_one_that_prints_afterwards() -> None:
    every = "".join(map(chr, range(0x3000))) + "".join(map(chr, range(0xD800, 0x10000)))
    shown = printable(every)
    assert shown.isprintable()
    shown.encode(sys.getfilesystemencoding())
