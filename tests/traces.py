"""What machines have traced, for a test to read."""

from __future__ import annotations

from tsnet.base.trace import Trace


class Traced:
    """A tracer that keeps all it is told: (room, event, fields)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, object]]] = []

    def __call__(self, room: str, /) -> Trace:
        def trace(event: str, /, **fields: object) -> None:
            self.told.append((room, event, fields))

        return trace

    @property
    def events(self) -> list[str]:
        return [event for _room, event, _fields in self.told]

    def fields(self, event: str) -> list[dict[str, object]]:
        """Of each time that it was told."""
        return [fields for _room, name, fields in self.told if name == event]
