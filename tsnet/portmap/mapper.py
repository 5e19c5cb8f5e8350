"""The mapping of one node's UDP port at its router: got, renewed, lost, given back.

    mapper.set_place(place, now)      where the node is; None: no mapping is wanted
    mapper.receive(event, now)        events of links of ROOM
    mapper.transmit(now)              effects on such links
    mapper.take_facts()               Mapped, Unmapped, ServicesSeen
    mapper.release(now)               the end; `may_end` tells whether it has to be waited for

| state   | what ends it              | and then                                                           |
|---------|---------------------------|--------------------------------------------------------------------|
| none    | `due`                     | an attempt                                                         |
| attempt | a Grant                   | mapped                                                             |
|         | a Denial, or silence      | none, for a minute, and each time twice as long, up to an hour     |
| mapped  | half of the lease is over | renewal; the mapping stays meanwhile                               |
| renewal | a Grant                   | mapped; Mapped is told again if the address is another one         |
|         | silence                   | mapped; tried again when half of what is left is over              |
|         | silence, to UPnP          | an attempt from the beginning at once: its services may have moved |
|         | a Denial                  | Unmapped, and as above                                             |
|         | the router has restarted  | Unmapped, and an attempt at once                                   |
| any     | the lease is over         | Unmapped, and an attempt at once                                   |
| any     | another place             | given back, Unmapped, and an attempt at the new place              |

What the router once gave is wished for again, so that peers who know it need learn nothing new.

| what a router could make grow | bound                                                                          |
|-------------------------------|--------------------------------------------------------------------------------|
| datagrams that we send        | those of an attempt: 3 probes, 3 requests a protocol, a deletion               |
| attempts                      | a renewal takes 30 s at least to come; see above for the others                |
| what it says over HTTP        | `elements.MAX_SIZE`, `soap.MAX_REPLY`; one call at a time, the attempt's time  |

Source: RFC 6886 §3.3, §3.6-3.7; RFC 6887 §8.5, §11.2-11.3, §15; Go net/portmapper/portmapper.go.
Not here: what a node makes of it (`engine.portmapping`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Close, Datagrams, Effect, Event, Link, OpenUdp
from tsnet.base.pauses import Pauses
from tsnet.base.trace import Trace
from tsnet.portmap.asks import PcpAsk, PmpAsk
from tsnet.portmap.attempt import MappingAttempt
from tsnet.portmap.epoch import Epoch
from tsnet.portmap.facts import Fact, Mapped, ServicesSeen, Unmapped
from tsnet.portmap.lease import MIN_LEASE, ROOM, Denial, Grant, Place, Protocol
from tsnet.portmap.natpmp import PORT
from tsnet.portmap.pcp import NONCE_SIZE
from tsnet.portmap.probe import Probe

if TYPE_CHECKING:
    from tsnet.http1.client import Http1Client
    from tsnet.portmap.upnp import UpnpAsk

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
LOOK_AGAIN_AFTER = 30.0
"""Seconds: however often the network stirs, a mapping is not renewed more often than this because of it."""

RELEASE_PATIENCE = 0.5
"""Seconds that a router has to take a mapping back over HTTP, once the node ends."""

MAX_REASONS = 32
"""That `dropped` tells apart: a router may invent result codes and words."""

STEPS = 8
"""Of HTTP in one turn: answers that lead to requests."""


@attrs.define(eq=False)
class _Held:
    """A mapping. until: when its lease is over. may_have_moved: the service that made it does not answer; a router that
    has restarted may have it at another URL."""

    external: UdpAddress
    ask: PmpAsk | PcpAsk | UpnpAsk
    until: float
    may_have_moved: bool = False


class Mapper:
    """upnp: whether to ask by UPnP if the router has neither of the other two.

    dropped: "stranger", "malformed", "unasked", "http unasked", "late", and why a mapping was no use.
    """

    def __init__(self, entropy: Callable[[int], bytes], *, upnp: bool = False, trace: Trace | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self.services: ServicesSeen = ServicesSeen()
        self._entropy, self._trace = entropy, trace
        self._upnp = upnp
        self._place: Place | None = None
        self._attempt: MappingAttempt | None = None
        self._attempt_link: Link | None = None
        self._held: _Held | None = None
        self._wished: UdpAddress | None = None
        self._nonce = b""
        self._epochs: dict[Protocol, Epoch] = {}
        self._pauses = Pauses(FIRST_PAUSE, entropy)
        self._due = self._released_by = math.inf
        self._began_at = -math.inf
        self._links = 0
        self._http: Http1Client | None = None
        self._effects: list[Effect] = []
        self._facts: list[Fact] = []

    # --- the owner's side -----------------------------------------------------------------------------------

    @property
    def mapped(self) -> UdpAddress | None:
        """Where peers outside reach the node now."""
        return None if self._held is None else self._held.external

    def set_place(self, place: Place | None, now: float, why: str = "the network has changed") -> None:
        """From now on a mapping is wanted for this place; None: for none. why: what is told of the one before."""
        before = self._place
        if place == before:
            return
        self._give_back(why, now)
        if before is None or place is None or (place.gateway, place.own) != (before.gateway, before.own):
            self._wished = None
            self._see(ServicesSeen())
        self._place, self._nonce = place, self._entropy(NONCE_SIZE)
        self._epochs.clear()
        self._pauses.begin_anew()
        self._due = math.inf if place is None else now

    def set_upnp(self, allowed: bool, now: float) -> None:
        """Whether UPnP may be used from now on."""
        if allowed == self._upnp:
            return
        self._upnp = allowed
        if not allowed and (self._attempt or (self._held and self._held.ask.protocol is Protocol.UPNP)):
            place = self._place
            self.set_place(None, now, "UPnP is switched off")
            self.set_place(place, now)
        elif self._held is None and self._place is not None:
            self._due = now

    def look_again(self, now: float) -> None:
        """Something has happened to the network: is the mapping still there?"""
        if self._place is not None:
            self._due = min(self._due, max(now, self._began_at + LOOK_AGAIN_AFTER))

    def release(self, now: float) -> None:
        """Give the mapping back, and want none any more."""
        self.set_place(None, now, "the node ends")
        self._released_by = now + RELEASE_PATIENCE

    def may_end(self, now: float) -> bool:
        """Whether nothing is lost if there are no more turns than the one that follows `release`.

        A datagram leaves in that turn, and no answer to it is waited for. UPnP's calls take a few.
        """
        by_upnp = self._held is not None and self._held.ask.protocol is Protocol.UPNP
        return not by_upnp and (not self._is_calling or now >= self._released_by)

    @property
    def _is_calling(self) -> bool:
        return self._http is not None and self._http.deadline() < math.inf

    def take_facts(self) -> list[Fact]:
        facts, self._facts = self._facts, []
        return facts

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        if self._attempt is not None and event.link == self._attempt_link:
            self._attempt.receive(event, now)
        elif self._http is not None and self._http.owns(event.link):
            self._http.receive(event, now)
            self._take_answers(self._http, now)
        else:
            self.dropped["late"] += 1

    def transmit(self, now: float) -> list[Effect]:
        if now >= self.deadline():
            self._take_steps(now)
        effects, self._effects = self._effects, []
        return effects

    def deadline(self) -> float:
        if self._effects:
            return -math.inf
        return min(
            self._due if self._attempt is None else self._attempt.deadline(),
            math.inf if self._held is None else self._held.until,
            math.inf if self._http is None else self._http.deadline(),
            self._released_by if self._is_calling else math.inf,
        )

    def _take_steps(self, now: float) -> None:
        if now >= self._released_by and self._http is not None:
            self._http.close()
        if self._held is not None and now >= self._held.until:
            self._lose("the lease is over")
            self._due = now
        if self._attempt is None and now >= self._due and self._place is not None:
            self._begin(self._place, now)
        for _ in range(STEPS):
            if self._attempt is not None:
                self._effects += self._attempt.transmit(now)
                self._go_on(self._attempt, now)
            if self._http is None:
                return
            self._effects += self._http.transmit(now)
            if not self._take_answers(self._http, now):
                return

    def _take_answers(self, http: Http1Client, now: float) -> bool:
        """Whether there were any."""
        answers = http.take_answers()
        for answer in answers:
            if self._attempt is not None:
                self._attempt.answered(answer, now)
        return bool(answers)

    # --- attempts -------------------------------------------------------------------------------------------

    def _begin(self, place: Place, now: float) -> None:
        held = self._held
        self._due, self._began_at = math.inf, now
        self._attempt_link = self._new_link()
        if held is None:
            self._say("port mapping tried", router=place.gateway, upnp=self._upnp)
        self._attempt = MappingAttempt(
            place,
            self._attempt_link,
            now=now,
            dropped=self.dropped,
            epochs=self._epochs,
            new_ask=self._new_ask,
            upnp=self._upnp,
            renewed=None if held is None or held.may_have_moved else held.ask.again(held.external),
        )

    def _new_ask(self, probe: Probe, protocol: Protocol, address: IPv4Address | None) -> PmpAsk | PcpAsk | UpnpAsk:
        place, wished = probe.place, self._wished
        match protocol:
            case Protocol.NAT_PMP:
                return PmpAsk(place, 0 if wished is None else wished.port, address)
            case Protocol.PCP:
                return PcpAsk(place, self._nonce, wished)
            case Protocol.UPNP:
                from tsnet.portmap.upnp import UpnpAsk

                port = 0 if wished is None else wished.port
                return UpnpAsk(place, self._client(), self._entropy, location=probe.locations[0], suggested=port)

    def _client(self) -> Http1Client:
        if self._http is None:
            from tsnet.http1.client import Http1Client

            self._http = Http1Client(self._new_link)
        return self._http

    def _new_link(self) -> Link:
        self._links += 1
        return Link(ROOM, "", self._links)

    def _go_on(self, attempt: MappingAttempt, now: float) -> None:
        if attempt.probe is not None:
            self._see(self.services.updated(attempt.probe.speaks))
        match attempt.outcome:
            case Grant() as grant if attempt.ask is not None:
                self._end_attempt()
                self._granted(grant, attempt.ask, now)
            case Denial() as denial:
                self._end_attempt()
                self._denied(denial, attempt, now)

    def _end_attempt(self) -> None:
        self._attempt = self._attempt_link = None

    def _granted(self, grant: Grant, ask: PmpAsk | PcpAsk | UpnpAsk, now: float) -> None:
        is_new = grant.external != self.mapped
        self._held = _Held(grant.external, ask, now + grant.lifetime)
        self._wished = grant.external
        self._due = now + grant.lifetime / 2
        self._pauses.begin_anew()
        self._say("port mapped", external=grant.external, by=ask.protocol, lease=grant.lifetime, renewed=not is_new)
        if is_new:
            self._facts.append(Mapped(grant.external, ask.protocol))

    def _denied(self, denial: Denial, attempt: MappingAttempt, now: float) -> None:
        held = self._held
        if attempt.has_restarted:
            self._lose(denial.why)
            self._due = now
        elif held is not None and denial.is_silence and not held.may_have_moved and attempt.renews_by_upnp:
            held.may_have_moved = True
            self._due = now
        elif held is not None and denial.is_silence:
            left = held.until - now
            self._due = now + left / 2 if left > MIN_LEASE else held.until
            self._say("port mapping not renewed yet", why=denial.why, left=left)
        else:
            if held is not None:
                self._lose(denial.why)
            is_told_apart = denial.why in self.dropped or len(self.dropped) < MAX_REASONS
            self.dropped[denial.why if is_told_apart else "other reasons"] += 1
            pause = self._pauses.next(LONGEST_PAUSE)
            self._due = now + max(pause, min(denial.again_after, LONGEST_PAUSE))
            self._say("no port mapping", why=denial.why, again_after=self._due - now)

    # --- its end --------------------------------------------------------------------------------------------

    def _lose(self, why: str) -> None:
        if self._held is not None:
            self._say("port mapping lost", external=self._held.external, why=why)
            self._facts.append(Unmapped(self._held.external, why))
            self._held = None

    def _give_back(self, why: str, now: float) -> None:
        """Whatever the router may keep for us now is deleted there."""
        attempt, held, place = self._attempt, self._held, self._place
        if attempt is not None:
            self._effects += attempt.abandon(now)
            self._end_attempt()
        if held is not None and place is not None:
            ask = held.ask
            if isinstance(ask, PmpAsk | PcpAsk):
                link = self._new_link()
                router = UdpAddress(str(place.gateway), PORT)
                self._effects += [OpenUdp(link, str(place.own)), Datagrams(link, router, ask.release()), Close(link)]
            else:
                ask.release(now)
        self._lose(why)

    def _see(self, services: ServicesSeen) -> None:
        if services != self.services:
            self.services = services
            self._facts.append(services)

    def _say(self, event: str, **fields: object) -> None:
        if self._trace is not None:
            self._trace(event, **fields)
