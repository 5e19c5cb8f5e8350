"""wireguard-go behind a TUN device: WireGuard that nobody here wrote, with Linux's TCP, UDP and ICMP above it.

    with WireGuardGo(scene, private_key=…, addresses=["100.64.0.1/32"], listen_port=51820) as wireguard:
        wireguard.add_peer(ours, allowed_ips=["100.64.0.2/32"], endpoint="127.0.0.1:41641")
        ping("100.64.0.2")

It plays in the scene's own namespace unless told otherwise: the kernel owns 100.64.0.1, our node's stack 100.64.0.2,
and their datagrams go over `lo`. It is set by its own text protocol, so `wg` is not needed.

Source: the cross-platform userspace API, https://www.wireguard.com/xplatform/.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import attrs

from tests.interop.harness.process import Process, can_connect_unix
from tests.interop.harness.requirements import BIN
from tests.interop.harness.scene import Scene, ip

SOCKETS = Path("/var/run/wireguard")


@attrs.frozen
class PeerState:
    """What wireguard-go tells of one peer."""

    endpoint: str = ""
    last_handshake: int = 0  # unix seconds; 0: never
    received: int = 0
    sent: int = 0


class WireGuardGo:
    """Entered: the device is up, has its addresses, and routes each `allowed_ips` that a peer gets."""

    def __init__(
        self,
        scene: Scene,
        *,
        private_key: bytes,
        addresses: Sequence[str],
        listen_port: int = 51820,
        mtu: int = 1280,
        namespace: str = "",
        verbose: bool = True,
    ) -> None:
        self.scene = scene
        self.namespace = namespace or scene.name
        self.device = f"wg{os.getpid() % 1000000}x{len(scene.processes)}"  # names the socket, so unique on the machine
        self.addresses, self.mtu, self.listen_port = addresses, mtu, listen_port
        self._private_key = private_key
        self._environment = {"LOG_LEVEL": "verbose" if verbose else "error"}
        self.process: Process | None = None

    def __enter__(self) -> Self:
        SOCKETS.mkdir(exist_ok=True)
        self.process = self.scene.run(
            self.device,
            [BIN / "wireguard", "-f", self.device],
            environment=self._environment,
            namespace=self.namespace,
        )
        self.process.wait_until(lambda: can_connect_unix(self._socket), "listening")
        self.set(f"private_key={self._private_key.hex()}", f"listen_port={self.listen_port}")
        for address in self.addresses:
            ip("-n", self.namespace, "addr", "add", address, "dev", self.device, *_nodad(address))
        ip("-n", self.namespace, "link", "set", self.device, "up", "mtu", str(self.mtu))
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.stop()

    def add_peer(
        self,
        public_key: bytes,
        *,
        allowed_ips: Iterable[str],
        endpoint: str = "",
        keepalive: int = 0,
        preshared_key: bytes = b"",
    ) -> None:
        """Or change one. With no endpoint, the peer must speak first."""
        allowed = list(allowed_ips)
        lines = [f"public_key={public_key.hex()}", "replace_allowed_ips=true"]
        lines += [f"endpoint={endpoint}"] if endpoint else []
        lines += [f"preshared_key={preshared_key.hex()}"] if preshared_key else []
        lines += [f"persistent_keepalive_interval={keepalive}"] if keepalive else []
        self.set(*lines, *(f"allowed_ip={prefix}" for prefix in allowed))
        for prefix in allowed:
            ip("-n", self.namespace, "route", "replace", prefix, "dev", self.device)

    def remove_peer(self, public_key: bytes) -> None:
        self.set(f"public_key={public_key.hex()}", "remove=true")

    def move(self, listen_port: int) -> None:
        """Roam: send from another port from now on."""
        self.set(f"listen_port={listen_port}")
        self.listen_port = listen_port

    def peer(self, public_key: bytes) -> PeerState:
        """What it knows of a peer; LookupError when it has no such peer."""
        state: dict[str, str] | None = None
        for name, _, value in (line.partition("=") for line in self._ask("get=1").splitlines()):
            if name == "public_key" and state is not None:
                break
            if name == "public_key" and value == public_key.hex():
                state = {}
            elif state is not None:
                state[name] = value
        if state is None:
            raise LookupError(f"no peer {public_key.hex()}")
        return PeerState(
            endpoint=state.get("endpoint", ""),
            last_handshake=int(state["last_handshake_time_sec"]),
            received=int(state["rx_bytes"]),
            sent=int(state["tx_bytes"]),
        )

    def set(self, *lines: str) -> None:
        """One `set` of its text protocol."""
        answer = self._ask("set=1", *lines)
        if answer.strip() != "errno=0":
            raise OSError(f"wireguard-go refuses {lines[0].split('=')[0]}: {answer.strip()}")

    def _ask(self, *lines: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(5)
            control.connect(str(self._socket))
            control.sendall("\n".join([*lines, "", ""]).encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                part = control.recv(1 << 16)
                if not part:
                    break
                answer += part
        return answer.decode()

    @property
    def _socket(self) -> Path:
        return SOCKETS / f"{self.device}.sock"


def _nodad(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []


def ping(address: str, *, size: int = 56, timeout: float = 5) -> float:
    """One ICMP echo by the kernel, from the calling thread's namespace: its round-trip time in seconds."""
    v6 = ":" in address
    family = socket.AF_INET6 if v6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    token = os.urandom(8)
    body = token + bytes(max(size - 8, 0))
    echo = bytes([128 if v6 else 8, 0, 0, 0]) + b"\x54\x53\x00\x01" + body
    if not v6:
        echo = echo[:2] + _checksum(echo).to_bytes(2, "big") + echo[4:]
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.connect((address, 0))
        start = time.monotonic()
        raw.send(echo)
        while (left := start + timeout - time.monotonic()) > 0:
            raw.settimeout(left)
            answer = raw.recv(1 << 16)
            message = answer if v6 else answer[(answer[0] & 15) * 4 :]
            if message[0] == (129 if v6 else 0) and message[8:] == body:
                return time.monotonic() - start
    raise TimeoutError(f"{address} does not answer a ping")


def _checksum(data: bytes) -> int:
    """RFC 1071; IPv6 leaves it to the kernel."""
    total = int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 65535
    return 65535 - total
