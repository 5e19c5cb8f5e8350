"""Tailscale's own packages as an oracle (program: tests/interop/peers/oracle), and cases that can be replayed.

    for seed in cases():                             # 200 of them; .ci/run: 2,000; TSNET_ORACLE_CASES=n
        with case("stun", seed) as random:           # a failure names the seed: TSNET_ORACLE_SEED=seed plays it alone
            assert ours(…) == oracle.call("stun_request", tx_id=…)

Bytes go over the lines as base64: `pack` and `unpack`.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.interop.harness.lines import Lines, PeerError
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import BIN

FEW, MANY = 200, 2000


class Oracle:
    """Needs neither root nor a namespace: it has no network."""

    def __init__(self, folder: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TS_NO_LOGS_NO_SUPPORT": "true"}
        self._lines = Lines(
            Process("oracle", [BIN / "oracle"], log=folder / "oracle.log", environment=environment, speak=True)
        )

    def call(self, op: str, **fields: Any) -> Any:
        return self._lines.call(op, **fields)

    def bytes(self, op: str, **fields: Any) -> bytes:
        """For operations whose result is bytes alone."""
        return unpack(self.call(op, **fields)["data"])

    def refuses(self, op: str, **fields: Any) -> bool:
        """Does Go call this an error?"""
        try:
            self.call(op, **fields)
        except PeerError:
            return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()


def pack(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unpack(text: str | None) -> bytes:
    """Go writes nil as null."""
    return base64.b64decode(text or "")


def cases() -> range:
    """The seeds to play."""
    alone = os.environ.get("TSNET_ORACLE_SEED")
    if alone is not None:
        return range(int(alone), int(alone) + 1)
    usual = MANY if os.environ.get("TSNET_REQUIRE_INTEROP") == "1" else FEW
    return range(int(os.environ.get("TSNET_ORACLE_CASES", usual)))


@contextlib.contextmanager
def case(room: str, seed: int) -> Iterator[Random]:
    """The seed's random numbers, the same on every machine; an error inside tells how to play it again."""
    try:
        yield Random(f"{room} {seed}")
    except BaseException as error:
        error.add_note(f"replay with TSNET_ORACLE_SEED={seed} (room {room})")
        raise


def flipped(random: Random, data: bytes) -> bytes:
    """The same bytes with one bit changed, or cut short, or longer."""
    kind = random.randrange(4)
    if kind == 0 or not data:
        return data + random.randbytes(random.randint(1, 9))
    if kind == 1:
        return data[: random.randrange(len(data))]
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
