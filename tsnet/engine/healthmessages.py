"""What is wrong now: the messages of every source that may complain, in one place.

    control ─┐                                              ┌─► facts.Health, whenever the whole has changed
    relays ──┼─► set(source, messages) replaces the source's ┤
    clock ───┘                                              └─► messages: Server.status().health

A source that is well again sets no messages; those of the other sources stay.

What control itself says comes with the netmap, and changes with it: its display messages, the gravest first; from a
server that has none of these, the sentences of Health, as in Go.

Source: Go control/controlclient/map.go netmap(), tailcfg.DisplayMessage.
Not here: what the other messages say (`control`, `engine.derprelays`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tsnet.control.gojson import MAX_URL, line, mapping
from tsnet.engine.facts import Fact, Health
from tsnet.netmap.model import NetMap

SAID_BY_CONTROL = "control says"
"""The source of what control says of this node; "control" is what is wrong between the two."""

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


def sentences_of(netmap: NetMap) -> list[str]:
    """What control says is wrong with this node or its tailnet."""
    if not netmap.display_messages:
        return list(netmap.health)
    messages = sorted(netmap.display_messages.items(), key=lambda named: (_gravity(named[1]), named[0]))
    return [found for name, message in messages if (found := _sentence(message) or line(name))]


_SEVERITIES = ("high", "medium", "low")


def _gravity(message: Mapping[str, Any]) -> int:
    severity = line(message.get("Severity"))
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _sentence(message: Mapping[str, Any]) -> str:
    """Title, text and where to act, whichever of them there are."""
    title, text, action = line(message.get("Title")), line(message.get("Text")), mapping(message.get("PrimaryAction"))
    said = ": ".join(filter(None, (title, text)))
    label, url = line(action.get("Label")), line(action.get("URL"), MAX_URL)
    return f"{said} ({label}: {url})" if said and url and label else f"{said} ({url})" if said and url else said
