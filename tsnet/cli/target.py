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


def find_target(text: str) -> Target:
    """Load it. Raises ConfigError; what the app's module raises is its own."""
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
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"there is no module {error.name!r} in {os.getcwd()} or among the installed ones") from None
    attribute = name.removesuffix("()")
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"module {module} has no {attribute!r}")
        found = getattr(found, part)
    app = found() if name.endswith("()") else found
    if not callable(app):
        raise ConfigError(f"{module}:{name} is no app: it cannot be called")
    return app


def is_asgi(app: Any) -> bool:
    """Whether calling it makes a coroutine, as ASGI 3 wants; all else is WSGI."""
    while isinstance(app, functools.partial):
        app = app.func
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
