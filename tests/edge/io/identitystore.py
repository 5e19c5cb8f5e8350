"""A store as applications wrote them first: it keeps an identity, and knows of nothing else."""

from __future__ import annotations

import attrs

from tsnet.engine.identity import Identity


@attrs.define
class KeptIdentity:
    identity: Identity | None = None
    saved: int = 0
    log: list[str] = attrs.Factory(list)

    def open(self) -> None:
        self.log.append("open")

    def load(self) -> Identity | None:
        return self.identity

    def save(self, identity: Identity) -> None:
        self.identity = identity
        self.saved += 1

    def close(self) -> None:
        self.log.append("close")
