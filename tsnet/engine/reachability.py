"""How peers reach this node: its home relay, the other relays in use, what control knows of them, what is wrong.

    a relay is logged in to ─► home is chosen ─► control is told at once ─► both have answered: Reachable
    packets for a peer ─► a relay of its region, for a minute
    a relay is lost ─► its troubles, until it is back or nobody needs it

Source: Go wgengine/magicsock/derp.go, ipn/ipnlocal/local.go.
Not here: which home is best (`netcheck.home`), connections (`derprelays`), who is behind which relay (`disco.paths`).
"""

from __future__ import annotations

from typing import assert_never

from tsnet.base.addresses import DerpAddress, IPAddress
from tsnet.base.trace import Trace
from tsnet.control.client.client import Client
from tsnet.derp import facts as relay
from tsnet.engine import facts
from tsnet.engine.derprelays import Relays
from tsnet.engine.engine import Engine
from tsnet.engine.healthmessages import HealthMessages
from tsnet.engine.when_due import WhenDue
from tsnet.netcheck.home import Home
from tsnet.netmap.model import DerpMap, DerpRegion


class Reachability:
    """told: where facts are added."""

    def __init__(
        self,
        engine: Engine,
        relays: Relays,
        home: Home,
        control: WhenDue[Client],
        *,
        health: HealthMessages,
        told: list[facts.Fact],
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self._engine, self._relays, self._home, self._control = engine, relays, home, control
        self._health, self._told = health, told
        self._published_home = -1
        self._known_home = 0  # what control was told last of where peers find us
        self._was_reachable = False
        self.is_unsettled: bool = False
        """Whether relays have told of something since the last `settle`."""

    # --- what others ask ------------------------------------------------------------------------------------

    @property
    def is_reachable(self) -> bool:
        """Whether peers can reach this node now: its home relay is connected, and control knows which that is."""
        home = self._home.region
        return home != 0 and home == self._known_home and self._relays.is_connected(home)

    def trouble(self, address: IPAddress | None, now: float) -> str:
        """What is wrong with the relays between this node and the peer that owns the address, or with our home's if
        there is no address: "relay region 1 (derp.example.com) cannot be reached: certificate: self-signed".

        Empty if all is well.
        """
        if address is not None:
            key = self._engine.egress.routes.lookup(address.packed)
            routes = () if key is None else self._engine.paths.routes(key)
            relays = [one.region for one in routes if isinstance(one, DerpAddress)]
            if routes and not relays:
                return ""
            for region in relays:
                if trouble := self._relays.trouble(region, now):
                    return trouble
        home = self._home.region
        if home:
            return self._relays.trouble(home, now)
        return self._relays.troubles.worst or "no relay has answered yet"

    # --- what changes ---------------------------------------------------------------------------------------

    def apply(self, derp_map: DerpMap, now: float) -> None:
        self._relays.apply(derp_map)
        self._home.set_map(derp_map, now)
        self.settle(now)

    def begin(self, home: DerpRegion, now: float) -> None:
        """This was our home when the last process ended: dial it before there is a map."""
        self._relays.apply(DerpMap({home.region_id: home}))
        self._home.begin(home)
        self.settle(now)

    def abandon(self, now: float) -> None:
        """Control does not let us in for now: leave what `begin` has dialled."""
        self.apply(DerpMap(), now)

    def settle(self, now: float) -> None:
        """Connect to the regions that somebody wants, and tell control of a new home at once."""
        self.is_unsettled = False
        self._relays.want(self._regions_wanted(now), now)
        for region in self._home.unproven():
            self._relays.ping(region, now)  # if we are connected already, no login tells that it answers
        if self._relays.troubles:
            self._tell_troubles(now)
        home = self._home.region
        if home == self._published_home or (not home and self._published_home < 0):
            return
        self._published_home = home
        self._relays.set_home(home, now)
        self._engine.paths.set_home(home, now)
        self._control.wake().set_net_info(self._home.net_info(), now)
        self._told.append(facts.HomeChanged(home))
        self._tell_if_reachable()

    def published(self, region: int) -> None:
        """Control knows that this is our home."""
        self._known_home = region
        self._tell_if_reachable()

    def take_relay_facts(self, now: float) -> bool:
        """Whether a relay has broken, or cannot be reached any more, which nobody was told before."""
        if not self._home.region:
            for region in self._relays.logged_in():
                self._home.logging_in(region, now)
            if self._home.region:
                self.settle(now)
        found = self._relays.take_facts()
        if not found:
            return False
        has_broken = False
        for fact in found:
            has_broken |= self._relay_told(fact, now)
        self.is_unsettled = True
        self._tell_troubles(now)
        self._tell_if_reachable()
        return has_broken

    def _relay_told(self, fact: relay.Fact, now: float) -> bool:
        """Whether it tells for the first time that a relay has broken."""
        match fact:
            case relay.Connected(region, latency):
                self._relays.troubles.mended(region)
                self._home.answered(region, latency, now)
                self.settle(now)
                self._engine.relay_connected(region, latency, now)
                self._told.append(facts.RelayChanged(region, True))
            case relay.Disconnected(region, reason):
                is_news = self._relays.troubles.failed(fact, now)
                self._home.failed(region, now, hopeless=fact.is_hopeless)
                self._relay_lost(region, now)
                if is_news:
                    self._told.append(facts.RelayChanged(region, False, reason))
                return is_news
            case relay.Suspected(region):
                self._home.doubted(region, now)
                self._engine.paths.doubted(region, True)
            case relay.Cleared(region):
                self._home.cleared(region, now)
                self._engine.paths.doubted(region, False)
            case relay.Measured(region, latency):
                self._home.is_there(region, latency, now)
            case relay.Left(region):
                self._relay_lost(region, now)
                self._told.append(facts.RelayChanged(region, False, "not needed"))
            case relay.PeerGone(region, key, _reason):
                self._engine.paths.peer_gone(region, key)
            case relay.RelayHealth(region, text):
                self._health.set(f"relay {region}", [f"relay region {region} says: {text}"] if text else [])
            case relay.Restarting():
                pass  # it is redialled
            case _:
                assert_never(fact)
        return False

    def _relay_lost(self, region: int, now: float) -> None:
        self._engine.paths.disconnected(region, now)
        self._engine.release(region)
        self._health.set(f"relay {region}", [])

    def _regions_wanted(self, now: float) -> set[int]:
        return self._home.regions_wanted() | self._engine.paths.regions_wanted(now)

    def _tell_troubles(self, now: float) -> None:
        """Report the troubles of relays that are needed. Without a home all are needed, also between two attempts."""
        troubles = self._relays.troubles
        if self._home.region:
            troubles.keep(self._regions_wanted(now))
        self._health.set("relays", troubles.messages)

    def _tell_if_reachable(self) -> None:
        """Tell Reachable each time that `is_reachable` becomes true."""
        before, self._was_reachable = self._was_reachable, self.is_reachable
        if self._trace is not None and self._was_reachable != before:
            self._trace("reachable" if self._was_reachable else "not reachable any more", region=self._home.region)
        if self._was_reachable and not before:
            self._told.append(facts.Reachable(self._home.region))
