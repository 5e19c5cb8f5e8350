"""What a dial of a target would meet, asked of a node that runs: a machine of its own, beside the data path.

    Inquiry ─► who is it? ─► pings outside the tunnel (disco) and inside (TSMP), each second; the port is dialled
            ─► over, when the next row holds ─► verdict

| it is over                                         | because                                                       |
|----------------------------------------------------|---------------------------------------------------------------|
| at once                                            | nobody is there to be asked                                   |
| when the peer denies the port                      | nothing changes that                                          |
| when it answers, and its path is direct            | more cannot be found                                          |
| 4 s after the beginning, when it answers           | by then a direct path would have been found                   |
| 5 s after the tunnel, when the port does not       | the peer's system would have answered                         |
| after 10 s; 5 s if control says that it is offline | what has not answered by then does not answer                 |

It sends what a dial sends, and a few pings; nothing of the node is changed by it.

Not here: what the answers mean (`judgement`), sockets and threads (`edge.run.explaining`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netstack import TcpConnection
from tsnet.base.addresses import IPAddress, parse_address
from tsnet.engine.evidence import OPEN, Evidence
from tsnet.engine.explanation import Explanation
from tsnet.engine.facts import PingAnswered
from tsnet.engine.judgement import judge
from tsnet.engine.peerpath import path_by
from tsnet.engine.tsmp import DENIED
from tsnet.errors import NotOnTailnet
from tsnet.netmap.nearnames import namesakes, near_names

if TYPE_CHECKING:
    from tsnet.engine.node import Node
    from tsnet.engine.view import NodeView

AGAIN = 1.0
DIRECT_PATIENCE, PORT_PATIENCE, OFFLINE_PATIENCE, PATIENCE = 4.0, 5.0, 5.0, 10.0
FINAL = "refused"


class Inquiry:
    """verdict: None while it is under way. connection: the one that dials the port; its owner calls `run` when it has
    something to say."""

    def __init__(self, node: Node, view: NodeView, host: str, port: int | None, now: float) -> None:
        self.verdict: Explanation | None = None
        self.connection: TcpConnection | None = None
        self.evidence: Evidence = Evidence(host, port)
        self._node, self._begun_at = node, now
        self._pings: dict[bytes, float] = {}
        self._again_at = math.inf
        self._tunnel_at = math.inf
        self._look_at_ourselves(view)
        self._find(view)
        if self._may_ask:
            self._ask(now)
            self._dial(now)
        self.run(now)

    @property
    def _may_ask(self) -> bool:
        peer = self.evidence.peer
        return peer is not None and not peer.expired

    # --- what is known ------------------------------------------------------------------------------------------

    def _look_at_ourselves(self, view: NodeView) -> None:
        own, node, found = view.netmap.self_node, self._node, self.evidence
        found.own_name, found.own_address = own.name, str(own.ips[0]) if own.ips else "no address"
        found.suffix = view.names.suffix
        found.control_listens = node.control.is_connected
        found.only_relays = node.config.always_use_derp or node.config.never_direct_udp
        found.only_tcp_443 = node.surroundings.attributes.only_tcp_443

    def _find(self, view: NodeView) -> None:
        """Who the target is."""
        found = self.evidence
        address = found.address = parse_address(found.host) or self._resolved(found.host)
        if address is None:
            found.near = near_names(found.host, view.netmap, view.names)
            return
        found.is_self = address in view.netmap.self_node.ips
        peer = None if found.is_self else view.whois.node(address)
        if peer is None and not found.is_self:
            key = self._node.engine.egress.routes.lookup(address.packed)
            peer = None if key is None else self._node.engine.peers.get(key)
        found.peer = peer
        if peer is None:
            return
        if parse_address(found.host) is None:
            own = view.names.name_of(peer)
            found.near = tuple(each for each in namesakes(found.host, view.netmap, view.names) if each != own)
        known = view.whois.peer(peer.key)
        found.owner = ", ".join(peer.tags) or ("" if known is None else known.user_login)
        region = view.netmap.derp_map.regions.get(peer.home_region)
        code = f" ({region.code})" if region is not None and region.code else ""
        found.relay = f"relay {peer.home_region}{code}" if peer.home_region else ""
        found.lets_in = self._lets_in(peer.ips)

    def _resolved(self, host: str) -> IPAddress | None:
        try:
            return self._node.calls.resolve(host)
        except NotOnTailnet:
            return None

    def _lets_in(self, addresses: tuple[IPAddress, ...]) -> bool:
        """Whether our filter has a rule for the peer."""
        engine = self._node.engine
        pairs = ((each.packed, engine.own_address(len(each.packed))) for each in addresses)
        return any(own is not None and engine.packet_filter.lets_in(theirs, own) for theirs, own in pairs)

    # --- what is asked ------------------------------------------------------------------------------------------

    def _ask(self, now: float) -> None:
        """Pings of the peer itself: a subnet router answers for what is behind it."""
        peer = self.evidence.peer
        address = peer.ips[0] if peer is not None and peer.ips else None
        self._again_at = now + AGAIN
        if address is None:
            return
        for send in (self._node.ping_disco, self._node.ping_tsmp):
            data = self._node.calls.ping_data()
            self._pings[data] = now
            send(address, data, now)

    def _dial(self, now: float) -> None:
        found = self.evidence
        if found.port is not None and found.address is not None:
            self.connection = self._node.calls.connect(found.address, found.port, now)

    def answered(self, fact: PingAnswered, now: float) -> None:
        """A pong has come, of ours or of somebody else."""
        sent_at = self._pings.get(fact.data)
        if sent_at is None or self.verdict is not None:
            return
        seconds, found = now - sent_at, self.evidence
        if fact.path:
            found.disco[fact.path] = min(seconds, found.disco.get(fact.path, seconds))
        elif found.tunnel is None:
            found.tunnel, self._tunnel_at = seconds, now
        self.run(now)

    # --- until it is over ---------------------------------------------------------------------------------------

    def run(self, now: float) -> None:
        """Look what has changed, do what is due; judge when it is over."""
        if self.verdict is not None:
            return
        self._look_at_port(now)
        if now >= self._over_at(now):
            self.give_up(now)
        elif now >= self._again_at:
            self._ask(now)

    def deadline(self) -> float:
        """When `run` must be called next; `inf` when it is over."""
        if self.verdict is not None:
            return math.inf
        return min(self._again_at, self._over_at(self._begun_at))

    def give_up(self, now: float) -> None:
        """Judge by what is known now, and let the port go."""
        self._look_at_path(now)
        self.verdict = judge(self.evidence)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close(now) if connection.connected else connection.abort(now)

    def _look_at_port(self, now: float) -> None:
        connection, found = self.connection, self.evidence
        if connection is None or found.port_said is not None:
            return
        if connection.connected:
            found.port_said = OPEN
        elif connection.error is not None and (connection.error == FINAL or connection.error.startswith(DENIED)):
            found.port_said = connection.error
        found.port_seconds = now - self._begun_at

    def _over_at(self, now: float) -> float:
        found, begun = self.evidence, self._begun_at
        if found.peer is None or not self._may_ask or found.is_denied:
            return -math.inf
        if found.answers:
            if not self._hopes_for_direct():
                return -math.inf
            measured = self._node.surroundings.checker.last is not None
            return begun + (DIRECT_PATIENCE if measured else PATIENCE)
        if found.tunnel is not None:
            return min(self._tunnel_at + PORT_PATIENCE, begun + PATIENCE)
        return begun + (OFFLINE_PATIENCE if found.peer.online is False else PATIENCE)

    def _hopes_for_direct(self) -> bool:
        """Whether the path is not direct, and may still become so."""
        paths, peer = self._node.engine.paths, self.evidence.peer
        is_direct = peer is not None and path_by(paths.routes(peer.key), None).is_direct
        return not is_direct and paths.modes.udp and paths.modes.direct

    def _look_at_path(self, now: float) -> None:
        """What has been found of the way, and of the network around us."""
        found, node = self.evidence, self._node
        found.waited, found.control_listens = now - self._begun_at, node.control.is_connected
        report = node.surroundings.checker.last
        if report is not None:
            found.udp, found.hard_nat = report.udp, report.mapping_varies_by_dest_ip
        peer = found.peer
        if peer is None or not self._may_ask:
            return
        netmap = node.netmap
        found.peer = node.engine.peers.get(peer.key) or peer
        found.relay_connected = node.engine.paths.is_connected(peer.home_region)
        found.path = path_by(node.engine.paths.routes(peer.key), None if netmap is None else netmap.derp_map)
        found.candidates = len(node.engine.paths.candidates(peer.key))
        found.knows_disco = node.engine.paths.speaks_disco(peer.key)
        found.relay_trouble = "" if found.path.is_direct else node.relay_trouble(found.address)
