"""gVisor's TCP/IP alone, each IP packet one UDP datagram (program: tests/interop/peers/gvisorpeer).

    with GvisorPeer(folder, wire=our_socket.getsockname()) as peer:
        our_socket.connect(peer.wire)
        peer.listen(":7", "sink")                     # no packets needed
        sent = peer.start("send", address=…, size=…)  # needs them: a future

Its options are those that tsnet gives gVisor: SACK, no RACK, Reno unless told otherwise, buffers to 8 MiB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from tests.interop.harness.lines import Lines
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import BIN
from tests.interop.harness.streams import Streams

V4, V6 = "10.8.0.1", "fd00:8::1"


class GvisorPeer(Streams):
    """Entered: it runs. wire: where its packets go; None: to who speaks first."""

    def __init__(
        self,
        folder: Path,
        *,
        wire: tuple[str, int] | None = None,
        addresses: Sequence[str] = (V4, V6),
        mtu: int = 1280,
        congestion: str = "reno",
        name: str = "gvisor",
    ) -> None:
        self._log, self._name = folder / f"{name}.log", name
        self._command = [str(BIN / "gvisorpeer"), "--addresses", ",".join(addresses), "--mtu", str(mtu)]
        self._command += ["--congestion", congestion]
        self._command += ["--wire", f"{wire[0]}:{wire[1]}"] if wire else []

    def __enter__(self) -> Self:
        environment = {"PATH": os.environ["PATH"]}
        self._lines = Lines(Process(self._name, self._command, log=self._log, environment=environment, speak=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def start(self, op: str, **fields: object) -> Future[Any]:
        """Any operation, without waiting."""
        return self._lines.start(op, **fields)

    def call(self, op: str, *, timeout: float = 30, **fields: Any) -> Any:
        return self._lines.call(op, timeout=timeout, **fields)

    @property
    def wire(self) -> tuple[str, int]:
        """Where its packets come from and ours go."""
        host, _, port = str(self.call("wire")).rpartition(":")
        return host, int(port)

    def stats(self) -> dict[str, int]:
        return dict(self.call("stats"))
