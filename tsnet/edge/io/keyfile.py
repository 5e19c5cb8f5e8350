"""An auth key that is named by the file which holds it: "file:/run/secrets/tailscale".

| Go                                                         | here                                             |
|------------------------------------------------------------|--------------------------------------------------|
| `tailscale up --auth-key=file:PATH`, a configuration file  | `auth_key=`, TS_AUTHKEY, TS_AUTH_KEY, `login()`, |
|                                                            | `--auth-key`                                     |
| tsnet's AuthKey, TS_AUTHKEY: the text is sent as the key   |                                                  |

No auth key begins with "file:", so that nothing else can be meant. The file is read when the option is given.

Source: Go cmd/tailscale/cli/up.go.
Not here: what a key is good for (`tsnet.config`).
"""

from __future__ import annotations

import os

from tsnet.errors import ConfigError

PREFIX = "file:"


def key_of(text: str, what: str = "auth key") -> str:
    """The key of the file that the text names, or the text itself. Raises ConfigError, which never shows a key."""
    if not text.strip().startswith(PREFIX):
        return text
    path = os.path.expanduser(text.strip().removeprefix(PREFIX))
    if path.startswith("tskey-"):
        raise ConfigError(f'"{PREFIX}" goes before the path of a file that holds the {what}, not before the {what}')
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"no {what} can be read from {path}: {reason}") from None
    return one_word(content, path, what)


def one_word(text: str, source: str, what: str) -> str:
    """The key without white space around it. Raises ConfigError if it is none."""
    key = text.strip()
    if not key or len(key.split()) != 1:
        example = ", such as tskey-auth-…" if what == "auth key" else ""
        raise ConfigError(f"{source} holds no {what}: it must be one word{example}")
    return key
