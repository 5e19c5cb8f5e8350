"""A Go tsnet node, driven from the test (program: tests/interop/peers/tsnetpeer).

    with GoPeer(scene, headscale, "gopeer", auth_key=key) as peer:
        peer.up()
        peer.listen(":7", "echo")
        peer.get("http://ours/")

Each method waits for its answer. What must go on meanwhile is `peer.start("get", url=…)`, a future.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from tests.interop.harness.control import Control
from tests.interop.harness.lines import Lines
from tests.interop.harness.requirements import BIN
from tests.interop.harness.scene import Scene
from tests.interop.harness.streams import StreamsProgram

DERP_ONLY = {"TS_DEBUG_ALWAYS_USE_DERP": "1"}


@attrs.frozen
class Granted:
    """What control gave the node, and how long joining took."""

    name: str
    addresses: list[str]
    key: str
    seconds: float

    @property
    def v4(self) -> str:
        return next(address for address in self.addresses if "." in address)

    @property
    def v6(self) -> str:
        return next(address for address in self.addresses if ":" in address)


@attrs.frozen
class Reply:
    """An HTTP answer. A body beyond 64 KiB is told by its hash alone."""

    status: int
    headers: Mapping[str, list[str]]
    body: str
    bytes: int
    sha256: str
    seconds: float


class GoPeer(StreamsProgram):
    """Started by entering it; `start_again` after `close` or `kill` resumes from the same state folder."""

    def __init__(
        self,
        scene: Scene,
        control: Control,
        hostname: str,
        *,
        auth_key: str = "",
        ephemeral: bool = False,
        tags: Sequence[str] = (),
        derp_only: bool = False,
        environment: Mapping[str, str] | None = None,
        namespace: str = "",
        credential: Mapping[str, str] | None = None,
    ) -> None:
        """credential: options in an auth key's place, such as {"client-secret": "tskey-client-…"}."""
        self.scene, self.hostname, self.namespace = scene, hostname, namespace
        self.granted: Granted | None = None
        folder = scene.folder / f"go-{hostname}"
        folder.mkdir(exist_ok=True)
        self._command: list[str | Path] = [
            BIN / "tsnetpeer",
            "--dir",
            folder,
            "--hostname",
            hostname,
            "--control",
            control.url,
        ]
        self._command += ["--authkey", auth_key, "--tags", ",".join(tags), "--verbose"]
        self._command += ["--ephemeral"] if ephemeral else []
        for option, value in (credential or {}).items():
            self._command += [f"--{option}", value]
        only = DERP_ONLY if derp_only else {}
        self._environment = {**control.environment, "HOME": str(folder), **only, **(environment or {})}

    def start_again(self) -> None:
        """Run the program (again)."""
        process = self.scene.run(
            f"go-{self.hostname}",
            self._command,
            environment=self._environment,
            namespace=self.namespace,
            speak=True,
        )
        self._lines = Lines(process)

    def __enter__(self) -> Self:
        self.start_again()
        return self

    # The node.

    def up(self, timeout: float = 30) -> Granted:
        self.granted = Granted(**self.call("up", timeout=timeout))
        return self.granted

    def logout(self) -> None:
        self.call("logout")

    def close(self) -> None:
        """The orderly end of the node and its program."""
        if self._lines and self._lines.process.alive:
            self._lines.start("quit")
        if self._lines:
            self._lines.close()

    def kill(self) -> None:
        """As if its machine had lost power."""
        if self._lines:
            self._lines.kill()

    def status(self) -> dict[str, Any]:
        """ipnstate.Status: BackendState, AuthURL, Self, Peer, Health, …"""
        return dict(self.call("status"))

    def peer(self, name: str) -> dict[str, Any] | None:
        """ipnstate.PeerStatus of the peer whose first label is `name`: Online, CurAddr, Relay, LastHandshake, …"""
        peers = (self.status().get("Peer") or {}).values()
        return next((peer for peer in peers if peer["DNSName"].split(".")[0] == name), None)

    def path_to(self, name: str) -> str:
        """The UDP address that the peer of that name is sent to, empty while it is a relay."""
        found = self.peer(name)
        return str(found["CurAddr"]) if found else ""

    def peer_relay_to(self, name: str) -> str:
        """The session of a peer relay that the peer of that name is sent to: "11.9.9.1:7777:vni:3", or empty."""
        found = self.peer(name)
        return str(found.get("PeerRelay") or "") if found else ""

    def whois(self, address: str) -> dict[str, Any]:
        """name, user, tags, key, caps of the node at `ip` or `ip:port`."""
        return dict(self.call("whois", address=address))

    def ping(self, address: str, kind: str = "disco", *, size: int = 0, timeout: float = 10) -> dict[str, Any]:
        """One `tailscale ping` (disco, TSMP, ICMP or peerapi): ipnstate.PingResult."""
        return dict(self.call("ping", address=address, kind=kind, size=size, timeout=timeout))

    def local(self, path: str, *, method: str = "GET", body: str = "") -> Any:
        """A LocalAPI request, as `prefs`, `debug-packet-filter-rules` or `metrics`."""
        return self.call("local", path=path, method=method, body=body)

    # HTTP.

    def get(self, url: str, *, timeout: float = 30, **more: Any) -> Reply:
        """One request; also `method=`, `body=`, `headers=`."""
        return Reply(**self.call("get", url=url, timeout=timeout, **more))

    def serve_http(self, address: str = ":80") -> None:
        """`/` tells who called (JSON), `/bytes?n=` gives random bytes with their hash in X-Sha256."""
        self.call("http", address=address)

    # Datagrams; streams are in the base.

    def udp(self, address: str, data: bytes, *, timeout: float = 10) -> bytes:
        """One datagram, one answer."""
        answer = self.call("udp", address=address, data=base64.b64encode(data).decode(), timeout=timeout)
        return base64.b64decode(answer["data"] or "")

    def udp_echo(self, address: str) -> None:
        """Echo datagrams at `ip:port` (Go needs the address)."""
        self.call("udp_listen", address=address)
