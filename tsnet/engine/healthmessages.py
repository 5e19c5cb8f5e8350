"""What is wrong now: the messages of every source that may complain, in one place.

    control ─┐                                              ┌─► facts.Health, whenever the whole has changed
    relays ──┼─► set(source, messages) replaces the source's ┤
    clock ───┘                                              └─► messages: Server.status().health

A source that is well again sets no messages; those of the other sources stay.

Not here: what the messages say (`control`, `engine.derprelays`).
"""

from __future__ import annotations

from collections.abc import Iterable

from tsnet.engine.facts import Fact, Health

MAX_MESSAGES = 8
"""How many messages of one source are kept. Sources are the relay regions in use, and a few more."""


class HealthMessages:
    """told: where facts are added."""

    def __init__(self, told: list[Fact]) -> None:
        self._by_source: dict[str, tuple[str, ...]] = {}
        self._told = told

    def set(self, source: str, messages: Iterable[str]) -> None:
        """Replace the source's messages (each a sentence). If that changes anything, Health is told.

        Of more than MAX_MESSAGES, the first MAX_MESSAGES - 1 are kept, and one more says how many were left out.
        """
        found = tuple(messages)
        if len(found) > MAX_MESSAGES:
            found = (*found[: MAX_MESSAGES - 1], f"and {len(found) - MAX_MESSAGES + 1} more of this kind")
        if found == self._by_source.get(source, ()):
            return
        if found:
            self._by_source[source] = found
        else:
            del self._by_source[source]
        self._told.append(Health(self.messages))

    @property
    def messages(self) -> tuple[str, ...]:
        """All messages, ordered by the name of their source."""
        return tuple(message for source in sorted(self._by_source) for message in self._by_source[source])
