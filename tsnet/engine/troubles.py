"""What is wrong with the relays: which regions cannot be reached, since when and why, for people.

    an attempt fails, a connection ends ─► failed: True if that is news      it is up again ─► mended
    it has lasted 2 s, or waiting alone cannot mend it ─► messages (health)
    somebody asks, at any time ─► text (errors)

A relay that restarts is back within those 2 s, and its restart is no trouble. What is told is told once: that a network
which refused before now times out is no news, another fault that somebody must mend is.

Not here: when to try again (`derp.attempts`, `netcheck.home`), who may be told (`node`).
"""

from __future__ import annotations

from collections.abc import Container

import attrs

from tsnet.derp.facts import Disconnected

LASTING = 2.0


@attrs.frozen
class Trouble:
    """latest: what errors speak of. told: the one that was news, for events and health. since: of the first."""

    latest: Disconnected
    told: Disconnected
    since: float
    has_lasted: bool


class Troubles:
    def __init__(self) -> None:
        self._found: dict[int, Trouble] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def failed(self, failure: Disconnected, now: float) -> bool:
        """A region's attempt failed or its connection ended; whether that is anything new."""
        before = self._found.get(failure.region)
        if before is None:
            self._found[failure.region] = Trouble(failure, failure, now, failure.is_hopeless)
            return True
        is_news = failure != before.told and (failure.is_hopeless or before.told.is_hopeless)
        told = failure if is_news else before.told
        lasted = before.has_lasted or failure.is_hopeless or now >= before.since + LASTING
        self._found[failure.region] = Trouble(failure, told, before.since, lasted)
        return is_news

    def mended(self, region: int) -> None:
        self._found.pop(region, None)

    def keep(self, regions: Container[int]) -> None:
        """Forget the others: nobody asks for them any more."""
        for region in [region for region in self._found if region not in regions]:
            del self._found[region]

    def text(self, region: int) -> str:
        """What is wrong there; empty if nothing is known to be."""
        trouble = self._found.get(region)
        return "" if trouble is None else sentence(trouble.latest)

    @property
    def worst(self) -> str:
        """The text of the region whose trouble will not pass by itself, else of the first; empty if all are well."""
        order = sorted(self._found, key=lambda region: (not self._found[region].latest.is_hopeless, region))
        return self.text(order[0]) if order else ""

    @property
    def messages(self) -> list[str]:
        """What has lasted, by region."""
        return [sentence(trouble.told) for _region, trouble in sorted(self._found.items()) if trouble.has_lasted]


def sentence(failure: Disconnected) -> str:
    return f"{name_of(failure.region, failure.host)} cannot be reached: {failure.reason}"


def name_of(region: int, host: str) -> str:
    return f"relay region {region} ({host})" if host else f"relay region {region}"
