"""One attempt to get a mapping, or to renew the one that there is, from its first datagram to its outcome.

    new      Probe ─► the first protocol that is there ─► its ask ─► a Grant
                      └──────── the next one ◄─────────── a Denial, or silence
    renewal  the ask of the protocol that made it ─► a Grant, a Denial, or silence

It has a UDP port of its own, which it opens first and closes last. What comes from anybody but the router is dropped;
so is what nobody asked for. No reply is answered but by the next step above: there are as many steps as protocols.

Source: RFC 6886 §3, RFC 6887 §8; Go net/portmapper/portmapper.go.
Not here: when to attempt, and what follows (`mapper`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, assert_never

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Computed,
    Datagrams,
    Effect,
    Event,
    Full,
    Link,
    LookedUp,
    Opened,
    OpenUdp,
    Received,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.portmap import natpmp, pcp, ssdp
from tsnet.portmap.asks import PcpAsk, PmpAsk
from tsnet.portmap.epoch import Epoch
from tsnet.portmap.lease import Denial, Grant, Outcome, Place, Protocol
from tsnet.portmap.probe import Probe
from tsnet.portmap.tries import Tries

if TYPE_CHECKING:
    from tsnet.http1.answers import Answer, Failed
    from tsnet.portmap.upnp import UpnpAsk

PAUSES = (0.25, 0.5)
ASK_PATIENCE = 2.0
UPNP_PATIENCE = 5.0
PATIENCE = 8.0
"""Seconds for all of it."""

SILENCE = Denial("no answer", is_silence=True)
NewAsk = Callable[[Probe, Protocol, IPv4Address | None], "PmpAsk | PcpAsk | UpnpAsk"]


class MappingAttempt:
    """outcome: None while it is under way. ask: the one that got the Grant. has_restarted: the router has, since then.

    new_ask: of a protocol that is there; renewed: the ask that renews a mapping, which is then all that is done.
    dropped: counts what is not of use.
    """

    __slots__ = (
        *("_address", "_begun", "_denial", "_epochs", "_link", "_new_ask", "_place", "_router", "_tried", "_tries"),
        *("_has_news", "_until", "_waits", "ask", "dropped", "has_restarted", "outcome", "probe", "renews"),
    )

    def __init__(
        self,
        place: Place,
        link: Link,
        *,
        now: float,
        dropped: Counter[str],
        epochs: dict[Protocol, Epoch],
        new_ask: NewAsk | None = None,
        upnp: bool = False,
        renewed: PmpAsk | PcpAsk | UpnpAsk | None = None,
    ) -> None:
        self.outcome: Outcome | None = None
        self.has_restarted: bool = False
        self.dropped: Counter[str] = dropped
        self.renews: bool = renewed is not None
        self.probe: Probe | None = None if self.renews else Probe(place, upnp=upnp, now=now)
        self.ask: PmpAsk | PcpAsk | UpnpAsk | None = None
        self._place, self._link, self._epochs, self._new_ask = place, link, epochs, new_ask
        self._router = UdpAddress(str(place.gateway), natpmp.PORT)
        self._address: IPv4Address | None = None
        self._begun = self._waits = self._has_news = False
        self._denial = SILENCE
        self._tried: set[Protocol] = set()
        self._tries = Tries((), math.inf, math.inf)
        self._until = now + PATIENCE
        if renewed is not None:
            self._begin(renewed, now)

    @property
    def renews_by_upnp(self) -> bool:
        return self.renews and Protocol.UPNP in self._tried

    # --- the verbs ------------------------------------------------------------------------------------------

    def receive(self, event: Event, now: float) -> None:
        """Of its own link."""
        match event:
            case Closed(reason=reason):
                self._begun = False
                self.outcome = Denial(f"no UDP port: {reason}", is_silence=True)
                if self.ask is not None and not isinstance(self.ask, PmpAsk | PcpAsk):
                    self.ask.cancel(now)
            case Datagrams(address=source, datagrams=datagrams):
                for datagram in datagrams:
                    if self.outcome is None:
                        self._heard(source, datagram, now)
            case Opened() | Received() | Full() | Room() | Accepted() | Computed() | LookedUp():
                return  # what is sent waits for no UDP port; the others are of byte streams
            case _:
                assert_never(event)
        self._has_news = True

    def answered(self, answer: Answer | Failed, now: float) -> None:
        """Of a request of UPnP."""
        if self.ask is None or isinstance(self.ask, PmpAsk | PcpAsk) or not self.ask.take(answer, now):
            self.dropped["http unasked"] += 1
        self._has_news = True

    def transmit(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        self._has_news = False
        if not self._begun and self.outcome is None:
            self._begun = True
            effects.append(OpenUdp(self._link, str(self._place.own)))
        if self.probe is not None and self.outcome is None:
            effects += [Datagrams(self._link, *question) for question in self.probe.transmit(now)]
        effects += self._go_on(now)
        if self.outcome is not None and self._begun:
            effects.append(Close(self._link))
        return effects

    def deadline(self) -> float:
        if not self._begun or self.outcome is not None or self._has_news:
            return -math.inf
        probe = self.probe
        at = self._until if probe is None else min(self._until, probe.deadline())
        if self.ask is not None:
            return min(at, self._tries.deadline())
        return min(at, probe.ready_at) if probe is not None and self._waits else at

    def abandon(self, now: float) -> list[Effect]:
        """Nobody wants its outcome any more. What it may have made is deleted, unless it is a mapping from before."""
        effects: list[Effect] = []
        ask = self.ask
        if isinstance(ask, PmpAsk | PcpAsk):
            effects = [] if self.renews or not self._begun else [Datagrams(self._link, self._router, ask.release())]
        elif ask is not None:
            ask.cancel(now)
        return [*effects, Close(self._link)] if self._begun else []

    # --- the steps ------------------------------------------------------------------------------------------

    def _go_on(self, now: float) -> list[Effect]:
        """Take the steps that are due."""
        effects: list[Effect] = []
        while self.outcome is None:
            ask = self.ask
            if ask is None:
                if not self._begin_next(now):
                    break
            elif isinstance(ask.outcome, Grant):
                self.outcome = ask.outcome
            elif ask.outcome is not None or self._tries.is_over(now) or now >= self._until:
                effects += self._given_up(ask, now)
            else:
                if isinstance(ask, PmpAsk | PcpAsk) and self._tries.take(now):
                    effects.append(Datagrams(self._link, self._router, ask.requests()))
                break
        return effects

    def _begin(self, ask: PmpAsk | PcpAsk | UpnpAsk, now: float) -> None:
        self.ask = ask
        self._tried.add(ask.protocol)
        if isinstance(ask, PmpAsk | PcpAsk):
            self._tries = Tries(PAUSES, ASK_PATIENCE, now)
        else:
            self._tries = Tries((), UPNP_PATIENCE, now)
            self._tries.take(now)
            ask.begin(now)

    def _begin_next(self, now: float) -> bool:
        """Ask by the next protocol that is there. False: wait, or it is over."""
        probe = self.probe
        self._waits = False
        if probe is None or now >= self._until or self._new_ask is None:
            self.outcome = self._denial
            return False
        for protocol, there in probe.speaks.items():
            if there and protocol not in self._tried:
                self._waits = not probe.may_begin(protocol, now)
                if not self._waits:
                    self._begin(self._new_ask(probe, protocol, self._address), now)
                return not self._waits
        if None not in probe.speaks.values():
            self.outcome = self._denial
        return False

    def _given_up(self, ask: PmpAsk | PcpAsk | UpnpAsk, now: float) -> list[Effect]:
        """What it made all the same is deleted."""
        denial = ask.outcome if isinstance(ask.outcome, Denial) else SILENCE
        if self._denial.is_silence:
            self._denial = denial
        self.ask = None
        if not isinstance(ask, PmpAsk | PcpAsk):
            ask.cancel(now)
            return []
        return [Datagrams(self._link, self._router, ask.release())] if ask.is_made and not self.renews else []

    # --- what arrives ---------------------------------------------------------------------------------------

    def _heard(self, source: UdpAddress, datagram: bytes, now: float) -> None:
        try:
            if source == self._router:
                version = datagram[:1]
                if version == b"\x00":
                    self._pmp(natpmp.decode_reply(datagram), now)
                elif version == b"\x02":
                    self._pcp(pcp.decode_reply(datagram), now)
                else:
                    raise MalformedError("neither NAT-PMP nor PCP")
            elif source.host == self._router.host and self.probe is not None and Protocol.UPNP in self.probe.speaks:
                self._ssdp(ssdp.decode_found(datagram), now)
            else:
                self.dropped["stranger"] += 1
        except MalformedError:
            self.dropped["malformed"] += 1

    def _pmp(self, reply: natpmp.PmpReply, now: float) -> None:
        is_ours = isinstance(self.ask, PmpAsk) and self.ask.take(reply)
        if not is_ours and not self._is_about_pmp(reply):
            self.dropped["unasked"] += 1
        elif not self._told_of_restart(Protocol.NAT_PMP, reply.epoch, now) and self._is_about_pmp(reply):
            if isinstance(reply, natpmp.PmpAddress):
                self._address = reply.address
            denial = Denial(reply.reason) if isinstance(reply, natpmp.PmpRefused) else None
            self._tell(Protocol.NAT_PMP, denial, now)

    def _pcp(self, reply: pcp.PcpReply, now: float) -> None:
        is_ours = isinstance(self.ask, PcpAsk) and self.ask.take(reply)
        if not is_ours and not self._is_about_pcp(reply):
            self.dropped["unasked"] += 1
        elif not self._told_of_restart(Protocol.PCP, reply.epoch, now) and self._is_about_pcp(reply):
            denial = Denial(reply.reason, float(reply.lifetime)) if isinstance(reply, pcp.PcpRefused) else None
            self._tell(Protocol.PCP, denial, now)

    def _is_about_pmp(self, reply: natpmp.PmpReply) -> bool:
        """Whether it answers the probe. "Unsupported version" may be about PCP, or from a router without NAT-PMP."""
        if not self._is_open(Protocol.NAT_PMP) or isinstance(reply, natpmp.PmpMapped):
            return False
        return isinstance(reply, natpmp.PmpAddress) or reply.result != natpmp.UNSUPPORTED_VERSION

    def _is_about_pcp(self, reply: pcp.PcpReply) -> bool:
        return self._is_open(Protocol.PCP) and not isinstance(reply, pcp.PcpMapped)

    def _ssdp(self, discovered: ssdp.Discovered, now: float) -> None:
        """Raises MalformedError for a description that is elsewhere."""
        if self.probe is not None:
            self.probe.found(discovered, now)

    def _is_open(self, protocol: Protocol) -> bool:
        """Whether the probe still waits for this protocol."""
        return self.probe is not None and self.probe.speaks.get(protocol, False) is None

    def _tell(self, protocol: Protocol, denial: Denial | None, now: float) -> None:
        if self.probe is not None:
            self.probe.heard(protocol, there=denial is None, now=now)
        if denial is not None:
            self._denial = denial

    def _told_of_restart(self, protocol: Protocol, epoch: int, now: float) -> bool:
        """Only of a router that has made a mapping for us before: else there is nothing that it could have lost."""
        if self._epochs.setdefault(protocol, Epoch()).heard(epoch, now) and self.renews:
            self.has_restarted = True
            self.outcome = Denial("the router has restarted")
        return self.has_restarted
