"""The pings that control asks this node to send, and what control is told of them.

| what is asked | what is sent                        | the answer tells, beside type, address, node and latency       |
|---------------|-------------------------------------|----------------------------------------------------------------|
| TSMP          | a TSMP ping through the tunnel      | PeerAPIPort, if the pong has one                               |
| ICMP          | an echo request through the tunnel  | nothing more                                                   |
| disco         | a ping by every path, outside of it | Endpoint, PeerRelay, or DERPRegionID and -Code, of the first   |
| peerapi, else | nothing: counted                    | -                                                              |

An address of nobody, or of ours, is answered at once, with the reason. Control may ask for several types at once, and
hears of each. It hears nothing of a ping that nobody answers within PING_TIMEOUT, as from a Go node.

Source: Go control/controlclient/direct.go doPingerPing, wgengine/userspace.go Ping, wgengine/magicsock/magicsock.go
(Ping, populateCLIPingResponseLocked); tailcfg.PingResponse.
Not here: the HTTP request that carries the answer (`control.client.pings`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from netstack import IcmpEndpoint
from netstack.errors import NetstackError
from tsnet.base.addresses import IPAddress
from tsnet.base.records import record
from tsnet.control.messages import PingRequest
from tsnet.engine.engine import Engine
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.netmap.model import Node

PING_TIMEOUT = 10.0
MAX_UNANSWERED = 16
"""How many pings may be under way. Another one is not sent, and counted."""

TYPES = ("disco", "TSMP", "ICMP")

Answer = tuple[PingRequest, dict[str, Any]]
"""What control asked, and the fields of the tailcfg.PingResponse for it."""


@record
class _Sent:
    ping: PingRequest
    type: str
    address: IPAddress
    peer: Node
    at: float
    endpoint: IcmpEndpoint | None = None


class AskedPings:
    """dropped: "unsupported" (types and addresses), "too many", "unanswered" (counted when somebody looks next)."""

    def __init__(self, engine: Engine, entropy: Callable[[int], bytes]) -> None:
        self.dropped: Counter[str] = Counter()
        self._engine, self._entropy = engine, entropy
        self._sent: dict[bytes, _Sent] = {}

    def asked(self, ping: PingRequest, now: float) -> list[Answer]:
        """Send what is asked for; returns the answers that can be given at once."""
        self._forget(now)
        types = dict.fromkeys(ping.types.split(","))
        known = [each for each in types if each in TYPES]
        self.dropped["unsupported"] += len(types) - len(known)
        return [answer for each in known for answer in self._ask(ping, each, now)]

    def answered(self, data: bytes, now: float, *, path: PeerPath = NO_PATH, peer_api_port: int = 0) -> list[Answer]:
        """A pong with these 8 bytes has come. path: by which the ping went, if that is told."""
        self._forget(now)
        sent = self._sent.pop(data, None)
        return [] if sent is None else [_pong(sent, now, path, peer_api_port)]

    @property
    def awaits_echo(self) -> bool:
        """Whether an answer to ICMP may come, which nothing but `take_echoes` notices."""
        return bool(self._sent) and any(sent.endpoint is not None for sent in self._sent.values())

    def take_echoes(self, now: float) -> list[Answer]:
        """The answers to ICMP that have come. Without one, `awaits_echo` ends after PING_TIMEOUT."""
        self._forget(now)
        echoed = [data for data, sent in self._sent.items() if sent.endpoint is not None and _has_echo(sent.endpoint)]
        answers: list[Answer] = []
        for data in echoed:
            endpoint = self._sent[data].endpoint
            answers += self.answered(data, now)
            if endpoint is not None:
                endpoint.close()
        return answers

    def _ask(self, ping: PingRequest, kind: str, now: float) -> list[Answer]:
        try:
            address = ip_address(ping.ip)
        except ValueError:
            self.dropped["unsupported"] += 1
            return []
        if address in self._engine.stack.addresses:
            return [_refusal(ping, kind, address, Err=f"{address} is local Tailscale IP", IsLocalIP=True)]
        key = self._engine.egress.routes.lookup(address.packed)
        peer = None if key is None else self._engine.peers.get(key)
        if key is None or peer is None:
            return [_refusal(ping, kind, address, Err="no matching peer")]
        if len(self._sent) >= MAX_UNANSWERED:
            self.dropped["too many"] += 1
            return []
        data = self._entropy(8)
        sent = _Sent(ping, kind, address, peer, now)
        if kind == "disco":
            self._engine.paths.ask(key, data, now)
        elif kind == "ICMP":
            return self._echo(sent, data, now)
        elif not self._engine.ping_tsmp(address.packed, data, now):
            return [_refusal(ping, kind, address, Err="no self address matching address family")]
        self._sent[data] = sent
        return []

    def _echo(self, sent: _Sent, data: bytes, now: float) -> list[Answer]:
        try:
            endpoint = self._engine.stack.ping(sent.address)
        except NetstackError as error:
            return [_refusal(sent.ping, sent.type, sent.address, Err=str(error))]
        endpoint.send(now, payload=data)
        self._sent[data] = _Sent(sent.ping, sent.type, sent.address, sent.peer, now, endpoint)
        return []

    def _forget(self, now: float) -> None:
        late = [data for data, sent in self._sent.items() if now > sent.at + PING_TIMEOUT]
        for data in late:
            endpoint = self._sent.pop(data).endpoint
            if endpoint is not None:
                endpoint.close()
        self.dropped["unanswered"] += len(late)


def _has_echo(endpoint: IcmpEndpoint) -> bool:
    while (reply := endpoint.receive()) is not None:
        if reply.error is None:
            return True
    return False


def _pong(sent: _Sent, now: float, path: PeerPath, peer_api_port: int) -> Answer:
    is_disco = sent.type == "disco"
    node_ip = sent.peer.ips[0] if is_disco and sent.peer.ips else sent.address
    fields: dict[str, Any] = {
        "NodeIP": str(node_ip),
        "NodeName": sent.peer.name.partition(".")[0],
        "LatencySeconds": now - sent.at,
    }
    if path.region:
        fields |= {"DERPRegionID": path.region, "DERPRegionCode": path.region_code}
    elif path.vni:
        fields["PeerRelay"] = f"{path.address}:vni:{path.vni}"
    elif path.address:
        fields["Endpoint"] = path.address
    if peer_api_port:
        fields["PeerAPIPort"] = peer_api_port
    return sent.ping, {"Type": sent.type, "IP": str(sent.address), **fields}


def _refusal(ping: PingRequest, kind: str, address: IPAddress, **fields: Any) -> Answer:
    return ping, {"Type": kind, "IP": str(address), **fields}
