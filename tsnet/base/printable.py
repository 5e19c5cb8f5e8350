"""Foreign text on its way to a terminal or a log: what would move a cursor or turn the writing around is shown as an
escape, as `repr` does it, and what would begin another line as a space.

Names, systems, reasons and messages come from other machines. Their characters are kept as they are where programs read
them (`status()`, JSON), and pass through here where people do: in the log (`edge.io.log`), in errors (`errors.Error`),
and in what the command prints (`cli.console`).

Not here: HTML and shells, which nothing of this library writes to.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The same on one line. Doing it twice changes nothing more."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
