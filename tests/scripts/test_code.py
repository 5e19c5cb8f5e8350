"""Python in scripts."""

from __future__ import annotations

import pytest

from tests.scripts.code import Blocks
from tests.scripts.script import ScriptError


def blocks() -> Blocks:
    return Blocks({"tcpi_a": 7}.__getitem__)


def test_names_are_kept_and_looked_up() -> None:
    code = blocks()
    code.run("cwnd = tcpi_a + 1")
    code.run("cwnd += 1; assert cwnd == 9, cwnd")
    code.run("\n   assert TCP_CA_Open == 0\n   assert max(1, 2) == 2, 'text %d' % 3\n   print(cwnd)\n")
    code.run(" assert 1 <= tcpi_a <= 7, tcpi_a; \\\n   assert True;\\\n")


def test_a_failure_says_what_was_asserted() -> None:
    with pytest.raises(ScriptError, match="assertion failed: tcpi_a == 8, got 7"):
        blocks().run("assert tcpi_a == 8, tcpi_a")
    with pytest.raises(ScriptError, match=r"assertion failed: tcpi_a == 8$"):
        blocks().run("assert tcpi_a == 8")


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "().__class__",
        "__builtins__",
        "open('x')",
        "exec('1')",
        "lambda: 1",
        "while True: pass",
        "assert (",
        "1 / 0",
    ],
)
def test_what_is_not_allowed_or_fails(text: str) -> None:
    with pytest.raises(ScriptError):
        blocks().run(text)


def test_an_unknown_name() -> None:
    with pytest.raises(ScriptError, match="code failed"):
        blocks().run("assert nothing")
