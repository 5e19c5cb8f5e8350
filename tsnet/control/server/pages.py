"""The pages that control shows anybody, before any handshake.

| GET               | answer                             |
|-------------------|------------------------------------|
| /key?v=N          | our Noise key                      |
| /generate_204     | 204                                |
| /health           | 200                                |
| /a/<id>           | how to approve the login           |
| others it is told | their JSON (the key of id tokens)  |
| anything else     | 404                                |

Source: Go tstest/integration/testcontrol serveKey; net/captivedetection for /generate_204.
Not here: POST /ts2021, which is no page (`server`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tsnet.base.keys import MachineKey
from tsnet.control.http import Headers
from tsnet.control.messages import ControlKeys
from tsnet.control.server.tailnet import TailnetState

AUTH_PATH = "/a/"
PLAIN = [("content-type", "text/plain; charset=utf-8")]
JSON = [("content-type", "application/json")]
NOT_FOUND = 404, b"not found\n", PLAIN

Page = tuple[int, bytes, Headers]


class Pages:
    """others: pages by path, in JSON."""

    def __init__(self, tailnet: TailnetState, public_key: MachineKey, others: Mapping[str, bytes]) -> None:
        self._tailnet = tailnet
        self._public_key = public_key
        self._others = others

    def show(self, method: str, path: str) -> Page:
        """Status, body and headers. path: without its query."""
        if method not in ("GET", "HEAD"):
            return NOT_FOUND
        if path == "/key":
            return 200, ControlKeys(self._public_key).encode(), JSON
        if path == "/generate_204":
            return 204, b"", ()
        if path == "/health":
            return 200, b'{"status":"pass"}', JSON
        if path in self._others:
            return 200, self._others[path], JSON
        if path.startswith(AUTH_PATH):
            return self._login(path.removeprefix(AUTH_PATH))
        return NOT_FOUND

    def _login(self, auth_id: str) -> Page:
        """It says how to approve; visiting it approves nothing, since the node itself can visit it."""
        login = self._tailnet.logins.get(auth_id)
        if login is None:
            return 404, b"This login is over, or never was.\n", PLAIN
        text = (
            f"A node that calls itself {login.hostname!r} asks to join {self._tailnet.base_domain}.\n"
            f"Its key is {login.key}.\n"
            f"Whoever runs the tailnet lets it in with approve({auth_id!r}, login).\n"
        )
        return 200, text.encode(), PLAIN
