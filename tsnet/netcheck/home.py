"""Which region is our home: at once the first that answers, later a better one if measurements show one.

    begin ─► the home of the last process is dialled before there is a map
    set_map ─► regions_wanted: up to 3 at a time are dialled, in order of RegionScore, then of the map
    logging_in ─► the first relay becomes home at once, so that control is told of it while it takes us in; if it does
                  not within 1.5 s, it is away, as below
    answered ─► the first relay becomes home, if there is none; a better one later, if it is better by enough
    measured ─► its relay is dialled before others if it would be the better home, and else not at all
    failed, doubted ─► the next best is dialled at once, to stand in; if the old home stays away for 1.5 s, another one
                       that has answered since becomes home
    nothing answers ─► all are tried again: after 1 s, doubled each time up to 5 s, or up to 30 s where waiting alone
                       cannot help

A better region takes over when all of this holds (Go keeps reports for five minutes, and waits for 8 s):

    best(new) < best(old)       best = lowest latency of the last 5 min 5 s, times its RegionScore
    it is in the report at hand; with no report, something of the last 5 min 5 s is known of it
    its relay has answered, too: UDP may pass where TCP does not
    the old home has been away for 1.5 s; or it is in the report as well, but takes 10 ms longer than best(new), and 1.5
        times as long. While its relay is connected, a lost datagram is no reason to leave it
    control is listening: otherwise peers could not learn of the new home

A measured latency is that of one packet there and back. A region that has one needs no other: how long its relay took
to log us in says more about the relay.

Source: Go net/netcheck/netcheck.go (addReportHistoryAndSetPreferredDERP), wgengine/magicsock/derp.go.
Not here: how a region is measured (the engine passes latencies in), other connections to regions (`disco.paths`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tsnet.base.pauses import Pauses
from tsnet.base.trace import Trace
from tsnet.netmap.model import DerpMap, DerpRegion

PROBES_AT_ONCE = 3
HISTORY = 305.0
HEARD_WITHIN = 1.5
"""Seconds for which a home may be away. A relay that restarts is back by then. Nobody reaches us meanwhile."""
RETRY_AFTER, RETRY_MAX, RETRY_HOPELESS = 1.0, 5.0, 30.0
NONE: set[int] = set()
MIN_GAIN = 0.010
MAX_RATIO = 2 / 3


def may_be_home(region: DerpRegion) -> bool:
    """Whether the region may be our home: it has a relay, and control does not exclude it. A region that may not be
    home still serves to reach peers at home there."""
    return not region.no_measure_no_home and not region.avoid and any(not node.stun_only for node in region.nodes)


class Home:
    """region: our home; 0 while none has answered. udp_answers: whether any region has answered over UDP, here."""

    def __init__(self, entropy: Callable[[int], bytes], *, trace: Trace | None = None) -> None:
        self.region: int = 0
        self._trace = trace
        self._pauses = Pauses(RETRY_AFTER, entropy)
        self._hopeless = True
        self._may_move = True
        self._regions: Mapping[int, DerpRegion] = {}
        self._scores: Mapping[int, float] = {}
        self._waiting: list[int] = []
        self._probing: set[int] = set()
        self._history: dict[int, list[tuple[float, float]]] = {}
        self._probed: set[int] = set()
        """Those whose history was measured over UDP or HTTPS."""
        self._relays: set[int] = set()
        """Those whose relay has answered since it last failed."""
        self.stand_in: int = 0
        """The region that is dialled, or asked, because our home is away; 0 for none."""
        self._last_known: list[tuple[float, float]] = []
        """The history of a home that we have given up, in case that it speaks again."""
        self.udp_answers: bool = False
        self.about: Mapping[str, Any] = {}
        """What else control is told of the network (`report.net_info`)."""
        self.away_at: float = math.inf
        self.retry_at: float = math.inf

    # --- in -------------------------------------------------------------------------------------------------------

    def begin(self, region: DerpRegion) -> None:
        """Our home when the last process ended: it is, until another relay answers before it does."""
        self._regions, self.region = {region.region_id: region}, region.region_id

    def set_map(self, derp_map: DerpMap, now: float) -> None:
        """Measure new and changed regions; forget those that changed or are gone, even the home."""
        if derp_map.regions != self._regions:
            self._begin_anew()
        old, self._regions, self._scores = self._regions, derp_map.regions, derp_map.region_score
        for number in old:
            if self._regions.get(number) != old[number]:
                self._forget(number)
                if number == self.region:
                    self.region, self.away_at, self.stand_in = 0, math.inf, 0
                if number == self.stand_in:
                    self.stand_in = 0
        self._measure([number for number in self._eligible() if self._regions[number] != old.get(number)])
        if not self.region:
            self._choose(now)
        self._retry_if_lost(now)

    def measure_all(self, now: float) -> None:
        """Measure every region again: the network has changed, and all that was measured before is void.

        Our home stays what it is; its last latency stands in for a new one.
        """
        self._begin_anew()
        self.udp_answers, self.about = False, {}
        for region in [region for region in self._history if region != self.region]:
            self._forget_latency(region)
        for history in self._history.values():
            del history[:-1]
        self._measure([region for region in self._eligible() if region != self.region or self.is_lost])

    def hurry(self, now: float) -> None:
        """If no region answers, try all again now: there is reason to hope."""
        if self.retry_at != math.inf:
            self.retry_at = now

    def answered(self, region: int, latency: float, now: float, *, over_udp: bool = False) -> None:
        """The region's relay has logged us in or, over UDP, its STUN server has answered. latency: seconds."""
        known = self._regions.get(region)
        self.udp_answers |= over_udp
        if known is None or not may_be_home(known):
            return
        self._note(region, latency, now, over_udp)
        if not over_udp:
            self._relays.add(region)
            self._done(region)
            if region == self.region:
                self.away_at, self.stand_in = math.inf, 0
        self._choose(now)
        self._put_in_order()
        if not self.is_lost:
            self._begin_anew()

    def logging_in(self, region: int, now: float) -> None:
        """Our login has left for that region's relay, which has shown that it is there.

        `answered` or `failed` follows.
        """
        known = self._regions.get(region)
        if self.region or known is None or not may_be_home(known):
            return
        self._relays.add(region)
        self._history.setdefault(region, [(now, HEARD_WITHIN)])
        self._choose(now)
        if region == self.region:
            self.away_at = now

    def measured(self, latencies: Mapping[int, float], now: float) -> None:
        """A report is whole: the regions that have answered in it, and how far away they are."""
        for number, latency in latencies.items():
            region = self._regions.get(number)
            if region is not None and may_be_home(region):
                self._note(number, latency, now, True)
        self._choose(now, latencies)
        self._put_in_order()

    def _note(self, region: int, latency: float, now: float, probed: bool) -> None:
        if probed and region not in self._probed:
            self._probed.add(region)
            self._history[region] = []
        if probed or region not in self._probed:
            self._history.setdefault(region, []).append((now, latency))

    def failed(self, region: int, now: float, *, hopeless: bool = False) -> None:
        """That region could not be reached, or its connection ended. hopeless: waiting alone cannot mend it."""
        self._done(region)
        if region == self.stand_in:
            self.stand_in = 0
        self._hopeless &= hopeless
        if region == self.region and not self.is_lost:
            if self._trace is not None and self.away_at == math.inf:
                self._trace("home is away", region=region, replaced_in=HEARD_WITHIN)
            self._away(now)
        else:
            self._forget_latency(region)
        self._retry_if_lost(now)

    def doubted(self, region: int, now: float) -> None:
        """The region's relay has stopped answering, and may be dead. `cleared` or `failed` follows."""
        if region == self.region and not self.is_lost:
            if self._trace is not None and self.away_at == math.inf:
                self._trace("home is silent", region=region, replaced_in=HEARD_WITHIN)
            self._away(now)

    def cleared(self, region: int, now: float) -> None:
        """A relay that was doubted has answered."""
        if region == self.region:
            self._relays.add(region)
            self._history.setdefault(region, self._last_known[-1:] or [(now, HEARD_WITHIN)])
            self.away_at, self.stand_in = math.inf, 0

    def is_there(self, region: int, latency: float, now: float) -> None:
        """A relay that we are connected to has answered a question after that many seconds."""
        if region in self.unproven():
            self._relays.add(region)
            self._history.setdefault(region, [(now, latency)])
            self._done(region)
            self._choose(now)

    def _away(self, now: float) -> None:
        """Our home does not answer. What was known of the others is old: who answers from now on may replace it."""
        if self.away_at != math.inf:
            return
        self.away_at = now
        self._relays &= {self.region}
        others = [number for number in self._eligible() if number != self.region]
        self.stand_in = min(others, key=self._last_latency, default=0)

    def control_listens(self, listens: bool, now: float) -> None:
        """Whether control's map poll is connected. Without it the home stays: peers could not learn of another."""
        self._may_move = listens
        if self.region:
            self._choose(now)

    # --- out ------------------------------------------------------------------------------------------------------

    def regions_wanted(self) -> set[int]:
        """The regions to be connected to: our home, and those that are being measured."""
        return {number for number in (*self._probing, self.region, self.stand_in) if number}

    def unproven(self) -> set[int]:
        """The regions whose relays are to show that they answer."""
        if not self._probing and not self.stand_in:
            return NONE
        return (self._probing | {self.stand_in}) - self._relays - {0}

    def transmit(self, now: float) -> None:
        """Do what is due: replace a home that stays away; if nothing answers, try all regions again."""
        if now >= self.away_at + HEARD_WITHIN:
            self._last_known = self._history.get(self.region, [])
            self._forget_latency(self.region)
            self.away_at = math.inf
            self._choose(now)
            self._measure([number for number in self._eligible() if number not in self._relays])
        if now >= self.retry_at:
            self.retry_at, self._hopeless = math.inf, True
            self._measure(self._eligible())

    def deadline(self) -> float:
        return min(self.away_at + HEARD_WITHIN, self.retry_at)

    def nearest(self, latencies: Mapping[int, float]) -> int:
        """Which of these regions would be the best home; 0 if none may be one."""
        fit = {number: latency * self._score(number) for number, latency in latencies.items()}
        return min(set(self._eligible()) & set(fit), key=lambda number: (fit[number], number), default=0)

    def net_info(self) -> dict[str, Any]:
        """What control is told (tailcfg.NetInfo). New latencies alone are no reason to tell it again."""
        latencies = {f"{region}-v4": history[-1][1] for region, history in sorted(self._history.items())}
        known = {"DERPLatency": latencies, "WorkingUDP": self.udp_answers}
        return {"PreferredDERP": self.region, **known, **self.about}

    # --- trying again ---------------------------------------------------------------------------------------------

    def latencies(self) -> dict[int, tuple[float, float]]:
        """The last latency of each region that has answered, in seconds, with when that was: (at, latency)."""
        return {region: history[-1] for region, history in self._history.items() if history}

    @property
    def is_lost(self) -> bool:
        """Whether we have no home that answers."""
        return self.region not in self._relays

    def _begin_anew(self) -> None:
        """Forget the failures so far: they say nothing about the new map, network or connection."""
        self._pauses.begin_anew()
        self._hopeless, self.retry_at = True, math.inf

    def _retry_if_lost(self, now: float) -> None:
        """Plan another round when none is under way."""
        under_way = self._waiting or self._probing or self.retry_at != math.inf
        if under_way or not self.is_lost or not self._eligible():
            return
        self.retry_at = now + self._pauses.next(RETRY_HOPELESS if self._hopeless else RETRY_MAX)
        if self._trace is not None:
            self._trace("no region answers", again_in=self.retry_at - now)

    # --- the choice -----------------------------------------------------------------------------------------------

    def _eligible(self) -> list[int]:
        """The regions that may be home, in order of RegionScore: the lowest, which control favours, first."""
        fit = (number for number, region in self._regions.items() if may_be_home(region))
        return sorted(fit, key=self._score)

    def _score(self, region: int) -> float:
        score = self._scores.get(region, 1.0)
        return score if score > 0 else 1.0

    def _measure(self, regions: list[int]) -> None:
        if regions and self._trace is not None:
            self._trace("measuring", regions=tuple(regions))
        self._waiting += [n for n in regions if n not in self._waiting and n not in self._probing]
        if self.is_lost:
            self._waiting.sort(key=self._last_latency)
        self._fill()

    def _dial_first(self, region: int) -> None:
        """Dial this relay before those that wait: it may well be our home."""
        if region not in self._probing:
            self._waiting = [region, *(number for number in self._waiting if number != region)]
            self._fill()

    def _put_in_order(self) -> None:
        """The nearest is dialled first. With a home, relays whose latency is known need not be dialled at all."""
        if self.is_lost:
            self._waiting.sort(key=self._last_latency)
        else:
            self._waiting = [region for region in self._waiting if region not in self._probed]

    def _last_latency(self, region: int) -> float:
        history = self._history.get(region)
        return history[-1][1] * self._score(region) if history else math.inf

    def _fill(self) -> None:
        while self._waiting and len(self._probing) < PROBES_AT_ONCE:
            self._probing.add(self._waiting.pop(0))

    def _choose(self, now: float, report: Collection[int] | None = None) -> None:
        """Settle on a home from what is known now. report: the regions that have just been measured."""
        best = self._best(now)
        if report is not None and not self.is_lost:
            best = {region: latency for region, latency in best.items() if region in report}
        if not best:
            return
        is_there = report is None or self.region in report
        nearest = min(best, key=best.__getitem__)
        if nearest not in self._relays and self._should_move(best[nearest], is_there):
            self._dial_first(nearest)
        best = {region: latency for region, latency in best.items() if region in self._relays}
        nearest = min(best, key=best.__getitem__, default=self.region)
        if nearest != self.region and self._should_move(best[nearest], is_there):
            if self._trace is not None:
                self._trace("home chosen", region=nearest, latency=best[nearest], why=self._why_move())
            self.region, self.away_at, self.stand_in = nearest, math.inf, 0

    def _best(self, now: float) -> dict[int, float]:
        """The lowest latency of each region, times its score. Without a home, old ones are better than none."""
        best: dict[int, float] = {}
        for region, history in self._history.items():
            history[:] = [sample for sample in history[:-1] if sample[0] > now - HISTORY] + history[-1:]
            if self.is_lost or region == self.region or history[0][0] > now - HISTORY:
                best[region] = min(latency for _at, latency in history) * self._score(region)
        return best

    def _why_move(self) -> str:
        if not self.region:
            return "it answered first"
        return "the old one is away" if self.is_lost else f"it is nearer than region {self.region}"

    def _should_move(self, new_best: float, is_there: bool) -> bool:
        """is_there: whether the present home was measured as well."""
        if not self.region:
            return True
        if not self._may_move:
            return False
        if self.is_lost:
            return True  # away for too long
        if not is_there:
            return False
        current = self._history[self.region][-1][1] * self._score(self.region)
        return self.away_at == math.inf and current - new_best >= MIN_GAIN and new_best <= MAX_RATIO * current

    def _done(self, region: int) -> None:
        self._probing.discard(region)
        if region in self._waiting:
            self._waiting.remove(region)
        self._fill()

    def _forget(self, region: int) -> None:
        self._forget_latency(region)
        self._done(region)

    def _forget_latency(self, region: int) -> None:
        """Nothing is known of it any more, nor whether its relay answers."""
        self._history.pop(region, None)
        self._probed.discard(region)
        self._relays.discard(region)
