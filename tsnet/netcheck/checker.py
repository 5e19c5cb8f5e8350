"""Netcheck: one report after the other on what the network around us is like.

    begin ─► STUN by a plan (`probes`) ─┬─ answers ────────────────────────────────────────────────► Report
                                        └─ none within 3 s ─► HTTPS to the regions (`https`) ──────► Report
             200 ms without an answer, in a full report ─► a captive portal? (`captive`) ─► is waited for

| a report is full               | because                                                        |
|--------------------------------|----------------------------------------------------------------|
| it is asked to be              | the network or the map is another, or somebody wants to see it |
| the last full one is 5 min old | other regions may have become nearer                           |
| the last one has no latency    | there is nothing to choose the fastest from                    |
| behind a captive portal        | it may let us through by now                                   |

A report takes at most five seconds. While nobody begins one, nothing is sent.

What few servers cannot tell, whether the NAT is a hard one, stays as the last report of this network has it.

Where UDP is blocked, incremental reports keep the latencies of the last full one: HTTPS would cost a TLS handshake with
each region, every half minute.

Source: Go net/netcheck/netcheck.go (GetReport).
Not here: when a report is begun, and what follows from it (`engine.surroundings`); which region is home (`home`).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Effect, Event, Link, LookedUp
from tsnet.base.network import Network
from tsnet.netcheck.captive import CaptiveCheck
from tsnet.netcheck.https import HttpsProbes
from tsnet.netcheck.names import ServerNames
from tsnet.netcheck.plan import full_plan, may_be_measured, next_plan
from tsnet.netcheck.probes import ENOUGH, Measurement, Probes
from tsnet.netcheck.report import Draft, Report
from tsnet.netmap.model import DerpMap

REPORT_TIMEOUT = 5.0
FULL_INTERVAL = 300.0
CAPTIVE_AFTER = 0.2
EVERY_REGION = 1 << 30
MAX_BY_HTTPS = 64


class Checker:
    """last: the last report. draft: the one that is being made, or that of the last.

    dropped: STUN datagrams (`Probes`), "late look-up", and "late" events of links that are gone.
    """

    def __init__(self, entropy: Callable[[int], bytes], *, use_http: bool = False) -> None:
        self.dropped: Counter[str] = Counter()
        self.last: Report | None = None
        self.draft: Draft = Draft(os_has_ipv6=False)
        self._entropy = entropy
        generations = itertools.count(1)
        self._names = ServerNames(self.dropped, generations)
        self._https = HttpsProbes(use_http=use_http, generations=generations)
        self._captive = CaptiveCheck(lambda: Link("netcheck", "captive portal", next(generations)))
        self._probes: Probes | None = None
        self._map = DerpMap()
        self._home = 0
        self._is_full = False
        self._full_at = -math.inf
        self._captive_at = self._until = math.inf
        self._has_asked_https = False
        self._done: list[Report] = []
        self._router: tuple[bool | None, bool | None, bool | None] = None, None, None

    @property
    def is_under_way(self) -> bool:
        return self._until != math.inf

    @property
    def awaits_stun(self) -> bool:
        """Whether a STUN answer may still come."""
        return self._probes is not None

    def forget(self) -> None:
        """This is another network: nothing that was measured in the one before stands."""
        self.last = None
        self._names.forget()

    def begin(
        self,
        derp_map: DerpMap,
        network: Network | None,
        home: int,
        now: float,
        *,
        full: bool = False,
        thorough: bool = False,
        udp: bool = True,
    ) -> None:
        """Begin a report; one that is under way is given up. thorough: wait for every region. udp: may it be used?"""
        self._stop()
        last = self.last
        self._is_full = full or thorough or last is None or self._must_be_full(last, now)
        addresses = frozenset() if network is None else network.addresses
        self.draft = Draft(os_has_ipv6=any(address.version == 6 for address in addresses))
        families = {address.version for address in addresses if not address.is_loopback} or {4, 6}
        self._map, self._home, self._until = derp_map, home, now + REPORT_TIMEOUT
        regions = derp_map.regions.values()
        if not udp:
            plan = []
        elif self._is_full or last is None:
            plan = full_plan(regions, home, families)
        else:
            plan = next_plan(regions, home, families, last.latencies)
        if self._is_full:
            self._full_at, self._captive_at = now, now + CAPTIVE_AFTER
        self._probes = Probes(
            plan,
            self.draft,
            self._names,
            self._entropy,
            self.dropped,
            now,
            enough=EVERY_REGION if thorough else ENOUGH,
            slack=2.0 if self._is_full else 1.0,
        )

    def _must_be_full(self, last: Report, now: float) -> bool:
        is_caught = last.captive_portal is True and not last.udp
        return now >= self._full_at + FULL_INTERVAL or not last.region_latency or is_caught

    def so_far(self, now: float) -> Report:
        """What is known of the report that is being made, which goes on; or of the last one."""
        return self.draft.whole(now, self._home, is_full=self._is_full)

    def set_router(self, *, upnp: bool | None, pmp: bool | None, pcp: bool | None) -> None:
        """Which protocols our router speaks to map ports; None is not known. The last report says so, too."""
        self._router = upnp, pmp, pcp
        if self.last is not None:
            self.last = attrs.evolve(self.last, upnp=upnp, pmp=pmp, pcp=pcp)

    def take_reports(self) -> list[Report]:
        done = self._done
        if done:
            self._done = []
        return done

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive_stun(self, datagrams: Iterable[tuple[UdpAddress, bytes]], now: float) -> list[Measurement]:
        """Datagrams that look like STUN, each with its source. Returns what they say of regions."""
        if self._probes is None:
            self.dropped["stun unasked"] += sum(1 for _ in datagrams)
            return []
        return self._probes.receive(datagrams, now)

    def receive(self, event: Event, now: float) -> None:
        """Of a link of the room "netcheck"."""
        if isinstance(event, LookedUp):
            self._names.receive(event, now)
        elif self._https.owns(event.link):
            answered = self._https.receive(event, now)
            if answered is not None:
                self.draft.over_https(*answered)
        elif self._captive.owns(event.link):
            self._captive.receive(event, now)
        else:
            self.dropped["late"] += 1

    def transmit(self, now: float) -> tuple[list[tuple[UdpAddress, list[bytes]]], list[Effect]]:
        runs: list[tuple[UdpAddress, list[bytes]]] = []
        if self.is_under_way:
            if now >= self._captive_at:
                self._captive_at = math.inf
                if not self.draft.udp:
                    self._captive.begin(self._map.regions.values(), self._home, self._entropy(8).hex(), now)
            if self._probes is not None:
                runs = self._probes.transmit(now)
                if self._probes.is_over(now):
                    self._probes = None
            if self._probes is None:
                self._go_on(now)
        return runs, self._take_effects(now)

    def deadline(self) -> float:
        if self._names.effects:
            return -math.inf
        probes = math.inf if self._probes is None else self._probes.deadline()
        if self._done:
            return -math.inf
        return min(probes, self._https.deadline(), self._captive.deadline(), self._captive_at, self._until)

    # --- a report -------------------------------------------------------------------------------------------

    def _go_on(self, now: float) -> None:
        """STUN is over. What else must be known?"""
        if not self.draft.udp and not self._has_asked_https:
            self._has_asked_https = True
            self._ask_https(now)
        is_waiting = self._https.is_under_way or self._captive.is_under_way
        if now >= self._until or not is_waiting:
            self._finish(now)

    def _ask_https(self, now: float) -> None:
        last = self.last
        if self._is_full or last is None:
            regions = self._map.regions.values()
            wanted = [region for region in regions if may_be_measured(region)]
            self._https.begin(wanted[:MAX_BY_HTTPS], now, self._until)
        else:
            for region, latency in last.region_latency.items():
                self.draft.over_https(region, latency)

    def _finish(self, now: float) -> None:
        last, self.draft.captive_portal = self.last, self._captive.found
        if not self._is_full and last is not None:  # what only a full one tells is still so
            self.draft.captive_portal = last.captive_portal
            if self.draft.seen.varies is None:
                self.draft.seen.varies = last.mapping_varies_by_dest_ip
        self._stop()
        upnp, pmp, pcp = self._router
        whole = self.draft.whole(now, self._home, is_full=self._is_full)
        self.last = attrs.evolve(whole, upnp=upnp, pmp=pmp, pcp=pcp)
        self._done.append(self.last)

    def _stop(self) -> None:
        self._probes = None
        self._https.stop()
        self._captive.stop()
        self._captive.found = None
        self._has_asked_https = False
        self._captive_at = self._until = math.inf

    def _take_effects(self, now: float) -> list[Effect]:
        effects = self._names.effects
        if effects:
            self._names.effects = []
        if self._https.deadline() <= now:
            effects = effects + self._https.transmit(now)
        if self._captive.deadline() <= now:
            effects = effects + self._captive.transmit(now)
        return effects
