"""A place in a text, and what can be read from there: the scanner under the parsers.

Blanks and comments (`//` to the end of the line, `/* … */`) may stand before anything that is taken.
"""

from __future__ import annotations

import re

from tests.scripts.script import ScriptError

_BLANK = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
NUMBER = r"-?(?:0x[0-9a-fA-F]+|\d+)(?![\w])"
SECONDS = r"\d*\.\d+|\d+"
NAME = r"[A-Za-z_]\w*"


class Cursor:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @property
    def line(self) -> int:
        """Of what comes next, from 1."""
        self.skip()
        return self.text.count("\n", 0, self.at) + 1

    @property
    def done(self) -> bool:
        self.skip()
        return self.at == len(self.text)

    def skip(self) -> None:
        """Over blanks and comments."""
        match = _BLANK.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def take(self, pattern: str) -> str | None:
        """What matches here, group 1 if the pattern has one; None and no step if nothing does."""
        self.skip()
        match = re.compile(pattern, re.DOTALL).match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match.group(match.re.groups and 1)

    def need(self, pattern: str, what: str) -> str:
        """What matches here. Raises ScriptError if nothing does."""
        found = self.take(pattern)
        if found is None:
            rest = self.text[self.at : self.at + 30].split("\n")[0]
            raise ScriptError(f"line {self.line}: expected {what}, found {rest!r}")
        return found

    def number(self, what: str = "a number") -> int:
        return int(self.need(NUMBER, what), 0)
