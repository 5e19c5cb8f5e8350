"""Host names as DNS labels: what becomes of a name that somebody has given a machine.

    "My_App" -> "my-app"    "x86_64-linux" -> "x86-64-linux"    "Bob's Laptop.local" -> "bobs-laptop"    "___" -> ""

Source: Go util/dnsname SanitizeHostname.
Not here: which name a node asks for (`tsnet.config`), which one it is granted (`tsnet.control.server.members`).
"""

from __future__ import annotations

import re

MAX_LABEL = 63
_LOCAL_SUFFIXES = (".local", ".localdomain", ".lan")
_BEFORE_OR_AFTER = re.compile(r"^[^a-z0-9]+|[^a-z0-9]+$")
_SEPARATOR = re.compile(r"[ .@_]")
_UNFIT = re.compile(r"[^a-z0-9-]")


def sanitize_hostname(name: str) -> str:
    """The DNS label closest to the name, "" if no letter or digit is left of it.

    Only the first 63 bytes count. A space, a dot, "@" and "_" become hyphens; what else DNS does not allow is dropped.
    """
    for suffix in _LOCAL_SUFFIXES:
        name = name.removesuffix(suffix)
    letters = name.encode("utf-8", "replace")[:MAX_LABEL].decode("ascii", "ignore").lower()
    return _UNFIT.sub("", _SEPARATOR.sub("-", _BEFORE_OR_AFTER.sub("", letters)))
