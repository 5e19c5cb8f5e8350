"""What a node tells whoever runs it: one ordered list, so that "peer gone" precedes the reset of its streams.

A fact that is marked (event) is also an event of `Server.events()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from tsnet.base.addresses import IPAddress, UdpAddress
from tsnet.base.records import record
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.errors import Error, NeedsApproval

if TYPE_CHECKING:
    from tsnet.netcheck.report import Report
    from tsnet.netmap.model import DerpRegion, NetMap, Node, UserProfile
    from tsnet.prefs import Prefs


@record
class LoginUrl:
    """(event) A person must visit this URL. The node goes on by itself when that has been done."""

    url: str


@record
class LoggedIn:
    """(event) Control accepted the node as this user's."""

    user: UserProfile


@record
class LoggedOut:
    """(event) Control has forgotten the node's key, and so has the node. Only a new login brings it back.

    login_name: of the user whose node it was, "" if nobody's.
    """

    login_name: str


@record
class Running:
    """(event) A netmap is there and the key is valid: names, addresses and peers are known.

    It is told again when the node runs again after an expiry or a refusal.
    """

    netmap: NetMap


@record
class ApprovalPending:
    """(event) The node is logged in, but an administrator of the tailnet must approve of it: until then it has no
    peers. Running follows by itself. It is told again when an approval is taken back.

    error: says what the administrator does, and is what `up` raises at its timeout.
    """

    error: NeedsApproval


@record
class KeyExpiring:
    """(event) The node key will expire at `expires_at` (Unix seconds): within a day, or a tenth of its life if that is
    shorter. It is told once, and again if control moves the expiry and that comes near."""

    expires_at: float


@record
class Expired:
    """(event) The node key has expired. `error` says what to do; Running follows when somebody has extended the key, or
    logged the node in again."""

    error: Error


@record
class Removed:
    """(event) Control has deleted this node, which stops. `error` says what to do."""

    error: Error


@record
class NetMapChanged:
    """(event) Control sent something new. `netmap` is the whole netmap, not the difference."""

    netmap: NetMap


@record
class PeerAppeared:
    """(event) A peer is new in the netmap."""

    peer: Node


@record
class PeerChanged:
    """(event) Something about the peer has changed. That includes `online` and `last_seen`."""

    peer: Node
    before: Node


@record
class PeerLeft:
    """(event) The peer is no longer in the netmap; its streams are reset after this."""

    peer: Node


@record
class PathChanged:
    """(event) A peer that this node sends to is reached by another path than before, or is sent to for the first time.

    why: a few words, such as "a pong came". Of several changes at once, the last one is told.
    """

    peer: Node
    path: PeerPath
    before: PeerPath
    why: str


@record
class HomeChanged:
    """(event) Peers reach this node at another relay region now; 0 when there is none."""

    region: int


@record
class RelayChanged:
    """(event) A relay connection came up, went down or cannot be made. A reason is told once, not with each retry."""

    region: int
    connected: bool
    reason: str = ""


@record
class ControlChanged:
    """(event) The connection to control stands, or has ended; then the node goes on with the last netmap, and tries."""

    connected: bool
    reason: str = ""


@record
class Health:
    """(event) All that is wrong now, as control says and as this node finds, each a sentence. Empty if all is well."""

    messages: tuple[str, ...]


@record
class DuplicateNode:
    """(event) Another process uses this node's key: the two take each other's traffic."""

    reason: str


@record
class Problem:
    """(event) Something keeps the node from working. fatal: waiting cannot help."""

    error: Error
    fatal: bool


@record
class Save:
    """A value to be written under a key. The edge answers with `Node.saved`, and an error if writing failed."""

    ticket: int
    key: str
    value: bytes = attrs.field(repr=False)


@record
class NetMapStale:
    """(event) Control has not answered since the start: the node goes by the netmap that it kept at `saved_at`, in Unix
    seconds. Running precedes it. The first netmap from control ends that, with NetMapChanged."""

    saved_at: float


@record
class Notice:
    """A sentence for the log."""

    text: str


@record
class PingAnswered:
    """A TSMP or disco pong: the 8 bytes of our ping, and the address that answered. path: a disco ping's own."""

    data: bytes
    address: IPAddress
    path: PeerPath = NO_PATH


@record
class ControlAnswered:
    """The end of a `Node.request`. status: HTTP's, with the whole body; or 0, and then `error` says why not."""

    ticket: int
    status: int
    body: bytes = attrs.field(repr=False)
    error: Error | None = None


@record
class NetcheckDone:
    """A report that somebody asked for. endpoints: our own by then. regions: as control names them."""

    report: Report
    endpoints: tuple[UdpAddress, ...]
    regions: Mapping[int, DerpRegion]


@record
class LoginEnded:
    """A login that was asked for is over. number: as `Node.login` returned it. error: why control refused it; None if
    the node is served by its new key."""

    number: int
    error: Error | None


@record
class EndpointMapped:
    """A relay region sees datagrams of this node's UDP port come from that address."""

    address: UdpAddress
    region: int


@record
class Reachable:
    """(event) The home relay is up and control knows of it: peers can reach this node from now on.

    It is told again each time that the node becomes reachable after it was not.
    """

    region: int


@record
class PrefsChanged:
    """(event) These preferences are in force now, in place of those before. Control may not have taken them yet."""

    prefs: Prefs
    before: Prefs


@record
class PrefsSaved:
    """The store has what was to be saved of the preferences."""

    kept: Mapping[str, Any]


@record
class PrefsTaken:
    """Control has taken the preferences in force, which it had not before."""

    prefs: Prefs


Event = (
    LoginUrl
    | LoggedIn
    | LoggedOut
    | Running
    | ApprovalPending
    | KeyExpiring
    | Expired
    | Removed
    | NetMapChanged
    | NetMapStale
    | PeerAppeared
    | PeerChanged
    | PeerLeft
    | PathChanged
    | HomeChanged
    | RelayChanged
    | ControlChanged
    | Health
    | DuplicateNode
    | Problem
    | Reachable
    | PrefsChanged
)
Answer = PingAnswered | ControlAnswered | NetcheckDone
"""What somebody waits for. Whose it is, its data or its ticket tells."""

Fact = Event | Save | LoginEnded | Notice | PrefsSaved | PrefsTaken | EndpointMapped | Answer
