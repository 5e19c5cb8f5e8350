"""Python between `%{` and `}%`: assertions over the last connection's tcp_info.

Names that a block sets are there in the next one. What a block may do is little: no imports, no attributes, no
definitions, a handful of builtins.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable
from typing import Any

from tests.scripts.script import ScriptError
from tests.scripts.tcp_info import CONSTANTS

_FORBIDDEN = (
    *(ast.Import, ast.ImportFrom, ast.Attribute, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.Lambda, ast.While, ast.Global, ast.Nonlocal, ast.Delete, ast.With, ast.Try, ast.Await, ast.Yield),
)
_BUILTINS = {each.__name__: each for each in (abs, bool, float, int, len, max, min, range, round, str, sum)}


class _Names(dict[str, Any]):
    """What blocks have set; then tcp_info, looked up as it is asked for."""

    def __init__(self, look_up: Callable[[str], int]) -> None:
        super().__init__(CONSTANTS)
        self._look_up = look_up

    def __missing__(self, name: str) -> int:
        if not name.startswith("tcpi_"):
            raise KeyError(name)
        return self._look_up(name)


class Blocks:
    """All code of one script."""

    def __init__(self, look_up: Callable[[str], int]) -> None:
        """look_up: the value of a name that begins with tcpi_, now."""
        self._names = _Names(look_up)

    def run(self, text: str) -> None:
        """Raises ScriptError for an assertion that fails, and for code that is not allowed."""
        source = textwrap.dedent(text).strip().rstrip("\\ \n")
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise ScriptError(f"not Python: {error.msg}") from None
        for node in ast.walk(tree):
            if isinstance(node, _FORBIDDEN):
                raise ScriptError(f"{type(node).__name__} is not allowed in code")
            if isinstance(node, ast.Name) and node.id.startswith("_"):
                raise ScriptError(f"the name {node.id} is not allowed in code")
            if isinstance(node, ast.Assert):
                node.msg = _with_source(node)
        ast.fix_missing_locations(tree)
        builtins = {**_BUILTINS, "print": lambda *_: None, "AssertionError": AssertionError}
        try:
            exec(compile(tree, "code", "exec"), {"__builtins__": builtins}, self._names)
        except AssertionError as error:
            raise ScriptError(f"assertion failed: {error}") from None
        except (NameError, TypeError, ValueError, ArithmeticError) as error:
            raise ScriptError(f"code failed: {error}") from None


def _with_source(node: ast.Assert) -> ast.expr:
    """The assertion itself, and its message behind it."""
    text = ast.Constant(ast.unparse(node.test))
    if node.msg is None:
        return text
    shown = ast.Call(ast.Name("str", ast.Load()), [node.msg], [])
    return ast.BinOp(text, ast.Add(), ast.BinOp(ast.Constant(", got "), ast.Add(), shown))
