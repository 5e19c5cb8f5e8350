"""What the control client tells whoever runs it, in order: collected with `take_facts()`.

| fact             | when                                                    | what to do                           |
|------------------|---------------------------------------------------------|--------------------------------------|
| LoginUrl         | a person has to log this node in                        | show it; the client waits by itself  |
| NodeKeyRotated   | the node has another key from now on                    | save it (`Client.key_saved`), use it |
| LoggedIn         | control has accepted the node key                       |                                      |
| LoggedOut        | control has confirmed the logout                        | forget the node key                  |
| LoginEnded       | what `Client.login` began is over                       | tell whoever asked for it            |
| Connected        | a map stream runs                                       |                                      |
| Disconnected     | it has ended; the client tries again by itself          | go on with the last netmap           |
| NetMapChanged    | control sent something new                              | apply it                             |
| Published        | control has stored what this node last said of itself   | peers can learn our home from now on |
| ControlKey       | the server has accepted us; no key of it was known      | keep it, with control's URL          |
| NewControlKey    | the same with another key, by verified https or pinned  | the same, and tell the user          |
| KeyExpired       | the node key has expired; told before the netmap        | stop the data plane; log in again    |
| KeyExpiring      | the node key will expire soon (`expirywarning`)         | tell the user                        |
| KeyExtended      | control gave the expired key more time                  | start it again                       |
| DuplicateNode    | another process uses this node's key                    | tell the user                        |
| ControlHealth    | what is wrong between this node and control             | show it                              |
| MapHealth        | a map message is refused; or no longer                  | show it                              |
| PingRequested    | control wants `ip` pinged                               | `Client.answer_ping`                 |
| BrowserRequested | control would like a person to see this page            | show it                              |
| Answered         | a request has its answer, or will have none             | give it to whoever asked             |
| Problem          | something stands in the way; fatal: waiting cannot help | raise `error` when it matters; later |
|                  |                                                         | `Client.retry`                       |
| NodeRemoved      | a Problem, fatal: control has deleted this node         |                                      |
"""

from __future__ import annotations

import attrs

from tsnet.base.keys import MachineKey, NodePrivateKey
from tsnet.base.records import record
from tsnet.control.messages import PingRequest
from tsnet.errors import Error
from tsnet.netmap.model import NetMap, UserProfile


@record
class LoginUrl:
    url: str


@record
class LoggedIn:
    """is_approved: False if control says that the node waits for an administrator. The netmap's own node decides."""

    user: UserProfile
    is_approved: bool = True


@record
class LoggedOut:
    pass


@record
class LoginEnded:
    """number: as `Client.login` returned it. error: why control has refused it; None if it serves the node.

    A node whose key was good goes on with that.
    """

    number: int
    error: Error | None


@record
class NodeKeyRotated:
    """old: the key that it replaces; None if control is not to connect the two, as after a deletion."""

    private: NodePrivateKey
    old: NodePrivateKey | None


@record
class ControlKey:
    """key: the server's Noise key. It is told once the server has accepted a registration or sent a first map."""

    key: MachineKey


@record
class NewControlKey:
    """As ControlKey. before: the key that was known until then."""

    key: MachineKey
    before: MachineKey


@record
class Connected:
    pass


@record
class Disconnected:
    reason: str


@record
class NetMapChanged:
    """netmap: the whole of it. Peers whose key has expired are marked and cannot be reached."""

    netmap: NetMap


@record
class Published:
    """home_region: the one that control knows now; 0 if none."""

    home_region: int


@record
class KeyExpired:
    pass


@record
class KeyExpiring:
    """expires_at: Unix seconds, by control's clock."""

    expires_at: float


@record
class KeyExtended:
    pass


@record
class DuplicateNode:
    reason: str


@record
class ControlHealth:
    """messages: sentences; none when all is well. What control itself says about the node is in the netmap."""

    messages: tuple[str, ...]


@record
class MapHealth:
    """message: why control's last map message was refused, for people; "" when a map has been taken again."""

    message: str


@record
class PingRequested:
    ping: PingRequest


@record
class BrowserRequested:
    url: str


@record
class Answered:
    """The end of a `Client.request`. status: HTTP's, with the whole body; or 0, and then `error` says why not."""

    ticket: int
    status: int
    body: bytes = attrs.field(repr=False)
    error: Error | None = None


@record
class Problem:
    error: Error
    fatal: bool


@record
class NodeRemoved(Problem):
    pass


KeyFact = (
    LoggedIn
    | LoggedOut
    | LoginEnded
    | NodeKeyRotated
    | ControlKey
    | NewControlKey
    | KeyExpired
    | KeyExpiring
    | KeyExtended
)
Fact = (
    KeyFact
    | LoginUrl
    | Connected
    | Disconnected
    | NetMapChanged
    | Published
    | DuplicateNode
    | ControlHealth
    | MapHealth
    | PingRequested
    | BrowserRequested
    | Answered
    | Problem
)
