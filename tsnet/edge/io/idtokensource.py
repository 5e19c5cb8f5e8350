"""Where an ID token comes from, each time that one is needed. What is returned here blocks, and is called in a worker.

| what is configured     | the token                                                                                |
|------------------------|------------------------------------------------------------------------------------------|
| a text                 | that                                                                                     |
| a path                 | what the file holds then: Kubernetes replaces a projected token before it expires        |
| a function             | what it returns then                                                                     |
| an audience            | what this machine's provider gives for it (`workload`)                                   |

Not here: what a token is exchanged for (`control.client.keyexchange`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from tsnet.errors import NoIdToken

MAX_FILE = 64 * 1024

IdToken = str | os.PathLike[str] | Callable[[], str]


def token_source(id_token: IdToken | None, audience: str, environ: Mapping[str, str]) -> Callable[[], str]:
    """audience: counts only without an `id_token`. What is returned raises NoIdToken, and what the function raises."""
    if callable(id_token):
        return id_token
    if isinstance(id_token, os.PathLike):
        path = os.path.expanduser(os.fspath(id_token))
        return lambda: _file(path)
    if id_token:
        return lambda: id_token
    kept = dict(environ)

    def ask_provider() -> str:
        from tsnet.edge.io.workload import Workload  # brings urllib

        return Workload(kept).id_token(audience)

    return ask_provider


def _file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise NoIdToken(f"no ID token can be read from {path}: {error.strerror or type(error).__name__}") from None
    if len(data) > MAX_FILE:
        raise NoIdToken(f"{path} holds no ID token: it has more than {MAX_FILE} bytes")
    if not data.strip():
        raise NoIdToken(f"{path} holds no ID token: it is empty")
    return data.decode("latin-1").strip()
