"""What an error says, in the words of its reader: an option is `state=` in Python, and `--state-dir` for a command.

    Wording("choose another directory with ", api("state="), ".")

    str(wording)                                "choose another directory with state=."
    wording.worded({"state=": "--state-dir"})   "choose another directory with --state-dir."

A `Wording` is a str, so whoever knows nothing of this reads Python's words. Every option and method that an error names
is written with `api`; a test sees to it, and that the command has a word for each.

Not here: the command's words (`tsnet.cli.words`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tsnet.base.printable import printable


class Api(NamedTuple):
    """A name of the Python API, and the text around it that makes no sense without the name."""

    name: str
    before: str
    after: str


def api(name: str, *, before: str = "", after: str = "") -> Api:
    """An option ("state=", "ephemeral=True") or a method ("status()") within a `Wording`.

    before, after: are left out where the reader has nothing of that kind.
    """
    return Api(name, before, after)


class Wording(str):
    """A text that names parts of the Python API, and can name them otherwise."""

    _pieces: tuple[str | Api, ...]

    def __new__(cls, *pieces: str | Api) -> Wording:
        wording = super().__new__(cls, "".join(_said(piece, {}) for piece in pieces))
        wording._pieces = tuple(pieces)
        return wording

    def worded(self, words: Mapping[str, str | None]) -> str:
        """The same in other words. words: by the name in Python; None if the reader has nothing of that kind."""
        return "".join(_said(piece, words) for piece in self._pieces)

    @staticmethod
    def printable(text: str) -> Wording:
        """The text without anything that moves a terminal's cursor or begins a line."""
        return Wording(*map(_printable, pieces_of(text)))

    def __add__(self, other: str) -> Wording:
        return Wording(*self._pieces, *pieces_of(other))

    def __radd__(self, other: str) -> Wording:
        return Wording(other, *self._pieces)


def pieces_of(text: str) -> tuple[str | Api, ...]:
    """The pieces of a text that may be a `Wording`."""
    return text._pieces if isinstance(text, Wording) else (text,)


def worded(text: str, words: Mapping[str, str | None]) -> str:
    """The text in these words, if it is a `Wording`."""
    return text.worded(words) if isinstance(text, Wording) else text


def _printable(piece: str | Api) -> str | Api:
    if isinstance(piece, Api):
        return piece
    return Wording.printable(piece) if isinstance(piece, Wording) else printable(piece)


def _said(piece: str | Api, words: Mapping[str, str | None]) -> str:
    if not isinstance(piece, Api):
        return worded(piece, words)
    word = words.get(piece.name, piece.name)
    return "" if word is None else f"{piece.before}{word}{piece.after}"
