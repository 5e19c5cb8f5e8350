"""Somebody who keeps a host's loop running, and hears when it has died."""

from __future__ import annotations

from tsnet.errors import Error


class Guest:
    def __init__(self) -> None:
        self.told: list[Error] = []

    def lost(self, error: Error) -> None:
        self.told.append(error)
