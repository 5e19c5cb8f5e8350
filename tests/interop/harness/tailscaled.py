"""tailscaled, whole and without a TUN device, and its command line: the one node that can relay for others.

    with Tailscaled(scene, control, "relay", namespace=internet.far) as relay:
        relay.up()
        relay.relay_on(7777)          # tailscale set --relay-server-port
        relay.sessions()              # tailscale debug peer-relay-sessions

Source: Go cmd/tailscaled, cmd/tailscale/cli; feature/relayserver.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.interop.harness.control import Control
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import BIN
from tests.interop.harness.scene import Scene

ANY_KEY = "any"


class Tailscaled:
    """Started by entering it. `stop` and `start` restart it with the same state."""

    def __init__(
        self,
        scene: Scene,
        control: Control,
        hostname: str,
        *,
        namespace: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.scene, self.control, self.hostname, self.namespace = scene, control, hostname, namespace
        self.folder = scene.folder / f"tailscaled-{hostname}"
        self.folder.mkdir(exist_ok=True)
        self.process: Process | None = None
        self._environment = {**control.environment, "HOME": str(self.folder), **(environment or {})}

    @property
    def _socket(self) -> Path:
        return self.folder / "s"

    def start(self) -> None:
        command: list[str | Path] = [BIN / "tailscaled", "--tun=userspace-networking", "--verbose=1", "--port=0"]
        command += ["--statedir", self.folder, "--socket", self._socket]
        self._socket.unlink(missing_ok=True)
        self.process = self.scene.run(
            self.folder.name, command, environment=self._environment, namespace=self.namespace
        )
        self.process.wait_until(self._socket.exists, "listening to its command line")

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def kill(self) -> None:
        """As if its machine had lost power."""
        if self.process:
            self.process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tailscale(self, *arguments: str, timeout: float = 30) -> str:
        """What the command line says."""
        command = [str(BIN / "tailscale"), f"--socket={self._socket}", *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.scene.environment(self._environment),
            check=False,
        )
        if done.returncode:
            log = self.process.log() if self.process else ""
            raise AssertionError(f"tailscale {' '.join(arguments)}: {done.stdout}{done.stderr}\n{log}")
        return done.stdout

    def up(self, auth_key: str = ANY_KEY) -> None:
        self.tailscale(
            "up", f"--login-server={self.control.url}", f"--auth-key={auth_key}", f"--hostname={self.hostname}"
        )

    def relay_on(self, port: int) -> None:
        """Relay for others, by that UDP port."""
        self.tailscale("set", f"--relay-server-port={port}")

    def relay_off(self) -> None:
        self.tailscale("set", "--relay-server-port=")

    def sessions(self) -> str:
        """The sessions that are relayed now, as text: the addresses of both clients, packets and bytes of each."""
        return self.tailscale("debug", "peer-relay-sessions")

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.tailscale("status", "--json")))
