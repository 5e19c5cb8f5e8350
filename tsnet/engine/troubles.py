"""What is wrong with the relays: which regions cannot be reached, since when and why, in words for people.

    an attempt fails, a connection ends ─► failed: True if that is news      it is up again ─► mended
    it has lasted 2 s, or waiting alone cannot mend it ─► messages (health)
    somebody asks, at any time ─► text (errors)

A relay that restarts is back within those 2 s, so that its restart never reaches health. A failure after the first is
news only if waiting cannot mend it, or could not mend the one told before: a refusal that becomes a timeout is no news.

Not here: when to try again (`derp.attempts`, `netcheck.home`), who is told (`node`).
"""

from __future__ import annotations

from collections.abc import Container

from tsnet.base.records import record
from tsnet.derp.facts import Disconnected

LASTING = 2.0
"""Seconds. A failure that comes this long after the first one makes the trouble a matter of health."""


@record
class Trouble:
    """latest: the last failure, for errors. told: the last one that was news, for events and health.

    since: when the first one happened.
    """

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
        """Note that a region's attempt failed or its connection ended. Returns whether that is news."""
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
        """Forget the troubles of all other regions."""
        for region in [region for region in self._found if region not in regions]:
            del self._found[region]

    def text(self, region: int) -> str:
        """What is wrong there, as a sentence without its full stop; empty if nothing is known to be."""
        trouble = self._found.get(region)
        return "" if trouble is None else sentence(trouble.latest)

    @property
    def worst(self) -> str:
        """The text of a region whose trouble cannot pass by waiting, else of any; empty if there is no trouble.

        Of several, it is the one with the lowest number.
        """
        order = sorted(self._found, key=lambda region: (not self._found[region].latest.is_hopeless, region))
        return self.text(order[0]) if order else ""

    @property
    def messages(self) -> list[str]:
        """The troubles that have lasted, ordered by region."""
        return [sentence(trouble.told) for _region, trouble in sorted(self._found.items()) if trouble.has_lasted]


def sentence(failure: Disconnected) -> str:
    return f"{name_of(failure.region, failure.host)} cannot be reached: {failure.reason}"


def name_of(region: int, host: str) -> str:
    return f"relay region {region} ({host})" if host else f"relay region {region}"
