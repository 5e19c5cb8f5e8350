"""What `tsnet serve` is asked to serve.

    web:app, pkg.web:create_app()    a WSGI or ASGI app, told apart by whether it is a coroutine function
    ./site                           a folder
    8000, 127.0.0.1:8000             a TCP port of this machine

Not here: serving it (`serve`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from tsnet.cli.folder import Folder
from tsnet.errors import ConfigError


@attrs.frozen
class Target:
    """kind: "wsgi", "asgi" or "port". name: what a node that serves it may be called. app: for a port, the target."""

    kind: str
    name: str
    app: Any


class AppFailed(Exception):
    """The app cannot be loaded, by a fault of its own: `__cause__`, whose traceback begins in the app."""


def find_target(text: str) -> Target:
    """Load it. Raises ConfigError and AppFailed."""
    if os.path.isdir(text):
        return Target("wsgi", os.path.basename(os.path.realpath(text)) or "files", Folder(text))
    module, colon, name = text.rpartition(":")
    if (text.isascii() and text.isdigit()) or (colon and name.isascii() and name.isdigit()):
        port = int(name)
        if not 0 < port < 65_536:
            raise ConfigError(f"a port is 1 to 65535, not {name}")
        return Target("port", f"port-{port}", text if colon else port)
    if not colon or not module or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{text!r} is no folder, no port, and no app: an app is MODULE:NAME, such as web:app")
    app = load_app(module, name)
    return Target("asgi" if is_asgi(app) else "wsgi", module.replace(".", "-"), app)


def load_app(module: str, name: str) -> Any:
    """The object of that name, from the working directory or an installed module; NAME() calls a factory."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _faults_of(f"{module}:{name}"):
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            where = f"in {os.getcwd()} or among the installed ones"
            raise ConfigError(f"there is no module {error.name!r} {where}") from None
    attribute = name.removesuffix("()")
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"module {module} has no {attribute!r}")
        found = getattr(found, part)
    with _faults_of(f"{module}:{name}"):
        app = found() if name.endswith("()") else found
    if not callable(app):
        raise ConfigError(f"{module}:{name} is no app: it cannot be called")
    return app


@contextmanager
def _faults_of(app: str) -> Iterator[None]:
    """What the app raises becomes its failure. The frames of this program and of the import system say nothing."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        frames = error.__traceback__
        while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
            frames = frames.tb_next
        raise AppFailed(f"{app} cannot be loaded: {type(error).__name__}: {error}") from error.with_traceback(frames)


def _is_ours(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")


def is_asgi(app: Any) -> bool:
    """Whether calling it makes a coroutine, as ASGI 3 wants; all else is WSGI."""
    while isinstance(app, functools.partial):
        app = app.func
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
