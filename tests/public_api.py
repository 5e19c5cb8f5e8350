"""The public API as lines of text: one for each name, attribute, parameter and command-line option that users rely on.

    python -m tests.public_api > tests/public_api.txt       after something was added; look at the difference

A line of `public_api.txt` is a promise: it may be added, never removed or changed. What a parameter is called, whether
it has a default and which, and whether it may be given by position is part of it; its annotation is not.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsnet.edge.io.world import World
from tsnet.testing import SimulatedWorld

PROMISED = Path(__file__).parent / "public_api.txt"
MODULES = "tsnet tsnet.events tsnet.testing tsnet.httpx tsnet.asgi tsnet.wsgi netstack".split()


def lines() -> list[str]:
    """Everything that is public now, sorted."""
    found = {line for module in MODULES for line in of_module(module)}
    return sorted(found | set(of_command_line()))


def of_module(module: str) -> Iterator[str]:
    space = importlib.import_module(module)
    names = getattr(space, "__all__", None) or [name for name in vars(space) if is_own(space, name)]
    for name in names:
        yield from of_value(f"{module}.{name}", getattr(space, name))


def is_own(space: Any, name: str) -> bool:
    """Whether a module that is a door hands this name on."""
    return not name.startswith("_") and not inspect.ismodule(getattr(space, name)) and name != "annotations"


def of_value(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"{path} class"
        for base in value.__mro__[1:-1]:
            if base.__module__ == "builtins":
                yield f"{path} is a {base.__name__}"
        yield from of_class(path, value)
    elif callable(value):
        yield f"{path}()"
        yield from of_parameters(path, value)
    else:
        yield path


def of_class(path: str, kind: type) -> Iterator[str]:
    """Its own public members and those of its bases in this project; how it is made."""
    if not issubclass(kind, enum.Enum) and not getattr(kind, "_is_protocol", False):
        yield from of_parameters(path, kind)
    inner = vars(World) if kind is SimulatedWorld else ()  # what the library itself asks of a world
    for name in dir(kind):
        owner = next((base for base in kind.__mro__ if name in vars(base)), object)
        if name.startswith("_") or name in inner or owner.__module__.partition(".")[0] not in ("tsnet", "netstack"):
            continue
        member = inspect.getattr_static(kind, name)
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        if inspect.isfunction(member):
            is_async = inspect.iscoroutinefunction(member)
            yield f"{path}.{name}() {'async' if is_async else ''}".rstrip()
            yield from of_parameters(f"{path}.{name}", member)
        else:
            yield f"{path}.{name}"


def of_parameters(path: str, function: Any) -> Iterator[str]:
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin's own
        return
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        kind = parameter.kind.name.lower()
        default = parameter.default
        if default is inspect.Parameter.empty:
            said = ""
        elif default is None or isinstance(default, (bool, int, float, str, bytes, tuple)):
            said = f" = {default!r}"
        else:
            said = " = …"
        yield f"{path}({parameter.name}) {kind}{said}"


def of_command_line() -> Iterator[str]:
    from tsnet.cli.command import parser

    top = parser()
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, inner in action.choices.items():
                yield f"$ tsnet {command}"
                for option in inner._actions:
                    yield f"$ tsnet {command} {' '.join(option.option_strings) or option.dest}"
        else:
            yield f"$ tsnet {' '.join(action.option_strings)}"


if __name__ == "__main__":
    print("\n".join(lines()))
