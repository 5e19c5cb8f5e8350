"""What a node tells whoever runs it: one ordered list, so that "peer gone" precedes the reset of its streams.

Those marked (event) are also what `Server.events()` gives an application.
"""

from __future__ import annotations

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.errors import Error
from tsnet.netmap.model import NetMap, Node, UserProfile


@attrs.frozen
class LoginUrl:
    """(event) A person must visit this URL; the node goes on by itself when that is done."""

    url: str


@attrs.frozen
class LoggedIn:
    """(event) Control accepted the node as this user's."""

    user: UserProfile


@attrs.frozen
class Running:
    """(event) A netmap is there and the key is valid: names, addresses and peers are known. Again after an expiry."""

    netmap: NetMap


@attrs.frozen
class NetMapChanged:
    """(event) Control sent something new; `netmap` is whole."""

    netmap: NetMap


@attrs.frozen
class PeerAppeared:
    """(event)"""

    peer: Node


@attrs.frozen
class PeerChanged:
    """(event) Something about the peer is new; `online` and `last_seen` among it."""

    peer: Node
    before: Node


@attrs.frozen
class PeerLeft:
    """(event) The peer is no longer in the netmap; its streams are reset after this."""

    peer: Node


@attrs.frozen
class HomeChanged:
    """(event) The relay region at which peers reach this node; 0 when there is none."""

    region: int


@attrs.frozen
class RelayChanged:
    """(event) A relay connection came up, went down, or cannot be made: once for each reason, not with each attempt."""

    region: int
    connected: bool
    reason: str = ""


@attrs.frozen
class Health:
    """(event) All that is wrong now, by control's word and by ours, each a sentence; empty when all is well."""

    messages: tuple[str, ...]


@attrs.frozen
class DuplicateNode:
    """(event) Another process uses this node's key: the two take each other's traffic."""

    reason: str


@attrs.frozen
class Problem:
    """(event) Something stands in the way. fatal: it cannot pass by waiting."""

    error: Error
    fatal: bool


@attrs.frozen
class Save:
    """A value to be written under a key; `Node.saved(ticket, …)` is told when it was, or why not."""

    ticket: int
    key: str
    value: bytes = attrs.field(repr=False)


@attrs.frozen
class Expired:
    """The node key has expired; Running follows when somebody has extended it. `error` says what to do."""

    error: Error


@attrs.frozen
class Notice:
    """A sentence that somebody who reads the log should find there, once."""

    text: str


@attrs.frozen
class PingAnswered:
    """A TSMP pong: the 8 bytes of our ping, and who answered."""

    data: bytes
    address: IPAddress


@attrs.frozen
class Reachable:
    """(event) The home relay is up and control knows of it: peers can reach this node from now on.

    Told again each time that this has been otherwise.
    """

    region: int


Fact = (
    LoginUrl
    | LoggedIn
    | Running
    | NetMapChanged
    | PeerAppeared
    | PeerChanged
    | PeerLeft
    | HomeChanged
    | RelayChanged
    | Health
    | DuplicateNode
    | Problem
    | Save
    | Expired
    | Notice
    | PingAnswered
    | Reachable
)
