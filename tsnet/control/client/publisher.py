"""What this node tells control about itself, and whether control knows it yet.

Every change goes out in a lite update, at once unless control has asked for a wait. One update is under way at a time;
changes meanwhile are joined into the next one. A new order of endpoints and new latencies do not count as changes.

Source: Go control/controlclient/auto.go updateRoutine; tailcfg.NetInfo.BasicallyEqual.
Not here: when control may be told at all (`client`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import DiscoKey, NodeKey
from tsnet.control.client.backoff import Backoff, HttpAnswer
from tsnet.control.client.controlconnection import ControlConnection
from tsnet.control.gojson import integer
from tsnet.control.messages import MAP_PATH, MapRequest

ANSWER_TIMEOUT = 30.0
ASK_AGAIN_AFTER = 3.0
"""Seconds. Without news of our own, we ask control at most this often whether it still knows us."""

Endpoint = tuple[UdpAddress, int]
"""An address and its kind: 0 unknown, 1 local, 2 STUN, 3 port-mapped, 4 STUN with local port, 5 explicit."""


class Publisher:
    """at: when the next lite update is due; inf if control knows everything, or an update is under way."""

    def __init__(self, disco_key: DiscoKey, hostinfo: Mapping[str, Any], entropy: Callable[[int], bytes]) -> None:
        self.at: float = math.inf
        self.answer_by: float = math.inf
        self.stream: int | None = None
        self._disco_key = disco_key
        self._hostinfo = dict(hostinfo)
        self._net_info: Mapping[str, Any] = {}
        self._endpoints: tuple[Endpoint, ...] = ()
        self._backoff = Backoff(entropy)
        self._changed = self._doubtful = False
        self._known_hostinfo: dict[str, Any] | None = None  # what control has stored; None if that is not sure
        self._sent_hostinfo: dict[str, Any] = {}
        self._sent_at = -math.inf
        self._sent_home = 0
        self._uplink: ControlConnection | None = None

    @property
    def hostinfo(self) -> dict[str, Any]:
        """Hostinfo as it is sent, with NetInfo, from which control learns the home region."""
        return {**self._hostinfo, "NetInfo": dict(self._net_info)} if self._net_info else dict(self._hostinfo)

    def set_hostinfo(self, hostinfo: Mapping[str, Any], now: float) -> None:
        if dict(hostinfo) != self._hostinfo:
            self._hostinfo = dict(hostinfo)
            self.change(now)

    @property
    def hostinfo_is_known(self) -> bool:
        """Whether control has stored the latest Hostinfo, NetInfo aside, and was sent no other one since."""
        return self._known_hostinfo == self._hostinfo

    def set_net_info(self, net_info: Mapping[str, Any], now: float) -> None:
        new = _without_latency(net_info) != _without_latency(self._net_info)
        self._net_info = dict(net_info)
        if new:
            self.change(now)

    def set_endpoints(self, endpoints: Iterable[Endpoint], now: float) -> None:
        found = tuple(endpoints)
        if set(found) != set(self._endpoints):
            self._endpoints = found
            self.change(now)

    def change(self, now: float) -> None:
        """Plan an update: something is new, or control may have forgotten it."""
        self._changed = True
        if self.stream is None:
            self.at = self._backoff.soonest(now)

    def doubt(self, now: float) -> None:
        """Plan an update although nothing is new: it shows whether control has deleted this node without a word."""
        self._doubtful = True
        if self.stream is None:
            self.at = min(self.at, max(self._backoff.soonest(now), self._sent_at + ASK_AGAIN_AFTER))

    def request(self, node_key: NodeKey, *, stream: bool) -> MapRequest:
        """A lite update, or the map poll. Both carry everything, since servers differ in which one they use."""
        if not self.hostinfo_is_known:
            self._known_hostinfo = None  # it may be stored from now on, whether or not we hear of that
        return MapRequest(
            node_key=node_key,
            disco_key=self._disco_key,
            stream=stream,
            omit_peers=not stream,
            hostinfo=self.hostinfo,
            endpoints=tuple(where for where, _kind in self._endpoints),
            endpoint_types=tuple(kind for _where, kind in self._endpoints),
        )

    def ask(self, uplink: ControlConnection, node_key: NodeKey, now: float) -> None:
        """Send the update that is due."""
        self._uplink = uplink
        self.sent(uplink.request("publish", "POST", MAP_PATH, self.request(node_key, stream=False).encode()), now)

    def sent(self, stream: int, now: float) -> None:
        self.stream, self.at, self.answer_by = stream, math.inf, now + ANSWER_TIMEOUT
        self._changed = self._doubtful = False
        self._sent_at, self._sent_hostinfo = now, self._hostinfo
        self._sent_home = integer(self._net_info.get("PreferredDERP"))

    def succeeded(self, now: float) -> int:
        """Control has stored what was sent. Returns the home region that it knows by it."""
        self._backoff.succeeded(now)
        self._known_hostinfo = self._sent_hostinfo
        later = self._sent_at + ASK_AGAIN_AFTER if self._doubtful else math.inf
        self._done(now if self._changed else later)
        return self._sent_home

    def failed(self, now: float, answer: HttpAnswer | None = None) -> None:
        self._changed = True
        self._done(now + self._backoff.failed(now, answer))

    def end(self, now: float) -> None:
        """Cancel the update under way: it is about a key that is gone, and its answer says nothing about the next."""
        if self.stream is not None and self._uplink is not None:
            self._uplink.cancel(self.stream)
            self.failed(now)

    def lost(self, now: float) -> None:
        """The connection is gone, and an update that was under way with it."""
        if self.stream is not None:
            self.failed(now)

    def _done(self, at: float) -> None:
        self.stream, self.at, self.answer_by, self._uplink = None, at, math.inf, None


def _without_latency(net_info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in net_info.items() if name != "DERPLatency"}
