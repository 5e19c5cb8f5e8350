"""All that is known of one target, while it is asked: what control has said, what this node finds, what has answered.

    who        names and addresses, from the netmap
    ourselves  whether UDP passes, what kind of NAT there is, what we were told to do without
    answers    outside the tunnel (disco), inside (TSMP), and of the port

Not here: who fills it (`inquiry`), what follows from it (`judgement`).
"""

from __future__ import annotations

import attrs

from tsnet.base.addresses import IPAddress, join_host_port
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.netmap.model import Node

OPEN = "open"


@attrs.define
class Evidence:
    """address, peer: of the target; the peer may only route the address. is_self: it is this node's own.

    near: names that may have been meant; of a target that is found, those of others with its label. suffix: our
    tailnet's. control_listens: whether control is connected. relay: of the peer, as text. relay_connected: whether this
    node is connected to it. relay_trouble: what is wrong with a relay on the way. candidates: how many addresses of the
    peer are known. lets_in: whether our own filter lets the peer in anywhere. udp, hard_nat: of the network around this
    node; None if not measured.

    disco: round trips outside the tunnel, in seconds, by path. tunnel: one inside. port_said: "open", or the error in
    which the connection ended, and when. waited: seconds since the beginning.
    """

    host: str
    port: int | None = None
    own_name: str = ""
    own_address: str = ""
    suffix: str = ""
    control_listens: bool = True
    address: IPAddress | None = None
    peer: Node | None = None
    owner: str = ""
    is_self: bool = False
    near: tuple[str, ...] = ()
    relay: str = ""
    relay_trouble: str = ""
    relay_connected: bool = False
    candidates: int = 0
    lets_in: bool | None = None
    udp: bool | None = None
    hard_nat: bool | None = None
    only_relays: bool = False
    only_tcp_443: bool = False
    knows_disco: bool = True
    disco: dict[PeerPath, float] = attrs.field(factory=dict)
    tunnel: float | None = None
    port_said: str | None = None
    port_seconds: float = 0.0
    path: PeerPath = NO_PATH
    waited: float = 0.0

    @property
    def target(self) -> str:
        """As somebody would write it."""
        return self.host if self.port is None else join_host_port(self.host, self.port)

    @property
    def name(self) -> str:
        """What to call the peer."""
        return self.host if self.peer is None else self.peer.name.partition(".")[0] or self.host

    @property
    def answers(self) -> bool:
        """Whether what was asked for answers: the port, or, without one, the tunnel."""
        return self.tunnel is not None if self.port is None else self.port_said == OPEN

    @property
    def is_denied(self) -> bool:
        """Whether the peer has said no to the port, which nothing changes."""
        return self.port_said not in (None, OPEN)
