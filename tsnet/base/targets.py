"""What a request line asks for, in the form that servers compare.

| target                  | RFC 9112           | here          |
|-------------------------|--------------------|---------------|
| /key?v=1                | §3.2.1 origin-form | as it is      |
| http://control/key?v=1  | §3.2.2 absolute    | /key?v=1      |
| *, control:443          | §3.2.3, §3.2.4     | as it is      |

Clients send the absolute form to proxies, and some of them (hyper, unless told otherwise) to everybody; a server must
take it.

Source: RFC 9112 §3.2.
Not here: whose name it is. As Go's own servers, ours answer under any.
"""

from __future__ import annotations

import re

_BEFORE_THE_PATH = re.compile(r"https?://[^/?]*", re.IGNORECASE)


def origin_form(target: str) -> str:
    """The path and query."""
    absolute = _BEFORE_THE_PATH.match(target)
    if absolute is None:
        return target
    rest = target[absolute.end() :]
    return rest if rest.startswith("/") else f"/{rest}"
