"""A node of ours in a process of its own, which joins and asks a peer for a byte; driven in lines, as Go's peer is.

    ready        nothing: the process reads, from now on
    up           Server(…).up(), then reachable(): {"seconds"} from the call until both are done
    first_byte   a stream to `address`, one byte there and back: {"seconds"}
    quit         the orderly end

python -m tests.interop.harness.joiner --hostname NAME --control URL --authkey KEY --dir FOLDER [--ca FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import tsnet

TIMEOUT = 30.0


class Joiner:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._node: tsnet.Server | None = None

    def ready(self) -> None:
        """It has been started."""

    def up(self) -> dict[str, float]:
        options, begun = self._options, time.perf_counter()
        self._node = tsnet.Server(
            options.hostname, control_url=options.control, auth_key=options.authkey or None, state=Path(options.dir)
        )
        self._node.up(timeout=TIMEOUT)
        self._node.reachable(timeout=TIMEOUT)
        return {"seconds": time.perf_counter() - begun}

    def first_byte(self, address: str) -> dict[str, float]:
        assert self._node is not None
        begun = time.perf_counter()
        host, _, port = address.rpartition(":")
        with self._node.dial(host, int(port), timeout=TIMEOUT) as stream:
            stream.sendall(b"1")
            assert stream.recv(1) == b"1"
        return {"seconds": time.perf_counter() - begun}

    def quit(self) -> None:
        if self._node is not None:
            self._node.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("hostname", "control", "authkey", "dir"):
        parser.add_argument(f"--{option}", default="")
    joiner = Joiner(parser.parse_args())
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        number, what = asked.pop("id"), asked.pop("op")
        asked.pop("timeout", None)
        print(json.dumps({"id": number, "result": getattr(joiner, what)(**asked)}), flush=True)


if __name__ == "__main__":
    main()
