"""What is wrong now: the messages of everybody who may complain, by who it is, in one place.

    control ─┐                                              ┌─► facts.Health, whenever the whole has changed
    relays ──┼─► set(source, messages) replaces the source's ┤
    clock ───┘                                              └─► messages: Server.status().health

A source that is well again says so with no message, and takes nobody else's away.

Not here: what the messages say (`control`, `engine.relays`).
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_MESSAGES = 8
"""Of one source; there are as many sources as regions in use, and a few."""


class Complaints:
    def __init__(self) -> None:
        self._by_source: dict[str, tuple[str, ...]] = {}

    def set(self, source: str, messages: Iterable[str]) -> bool:
        """What this source complains of now, each a sentence; whether anything has changed.

        Of more than MAX_MESSAGES the first are kept, and the last says how many there are besides.
        """
        found = tuple(messages)
        if len(found) > MAX_MESSAGES:
            found = (*found[: MAX_MESSAGES - 1], f"and {len(found) - MAX_MESSAGES + 1} more of this kind")
        if found == self._by_source.get(source, ()):
            return False
        if found:
            self._by_source[source] = found
        else:
            del self._by_source[source]
        return True

    @property
    def messages(self) -> tuple[str, ...]:
        """All of them, by source."""
        return tuple(message for source in sorted(self._by_source) for message in self._by_source[source])
