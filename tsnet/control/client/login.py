"""One node's registration: which key it asks for, and what the answers mean.

    ask ──> user, no URL ───────────────> Accepted          the key of this attempt is the node's key from now on
     ^ ──> AuthURL ─────────────────────> Waiting           ask again with Followup, until a person is done
     │ ──> NodeKeyExpired ──────────────> Again             with a new key, naming the old one
     │ ──> AuthURL or expired, auth key held back > Again   with the auth key: a known node shows it only if it has to
     └──── Error, or an expired new key > Denied

A new key becomes the node's key only when control has accepted it; until then the old one is. A request with a new key
leaves before that key is saved anywhere. A crash between control's acceptance and the save costs another login (and an
auth key that is good for one use), but leaves no second node behind: by the machine key, which is saved, control knows
that the next login is the same node's.

A login that `mints` has no auth key of its own: while `needs_key`, nothing is asked until it is given one (`take_key`).
That key is shown once. Each attempt after that needs another.

Source: Go control/controlclient/direct.go doLogin; tsnet/tsnet.go (an enrolled node does not use its auth key).
Not here: timing, HTTP statuses, connections (`client`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsnet.base.crypto import node_public
from tsnet.base.keys import LockKey, NodePrivateKey
from tsnet.base.records import record
from tsnet.control.messages import LOGOUT_EXPIRY, RegisterRequest, RegisterResponse
from tsnet.netmap.model import UserProfile


@record
class Accepted:
    """rotated: whether the node has a new key. old: the key that the request named as the old one. is_approved: whether
    the node may take part, or waits for an administrator of the tailnet."""

    user: UserProfile
    rotated: bool
    old: NodePrivateKey | None
    is_approved: bool = True


@record
class Waiting:
    """repeated: whether we have waited at this URL already."""

    url: str
    repeated: bool


@record
class Again:
    pass


@record
class Denied:
    reason: str
    key_expired: bool = False


Outcome = Accepted | Waiting | Again | Denied


class Login:
    """wanted: whether an attempt goes on. private: the node's key. known: whether control has accepted that key.

    attempt: the key that the attempt asks for. expired: whether control has said that the node's key has expired.
    """

    def __init__(
        self,
        private: NodePrivateKey,
        *,
        auth_key: str,
        enrolled: bool,
        ephemeral: bool,
        lock_key: LockKey | None,
        entropy: Callable[[int], bytes],
        mints: bool = False,
        rejoins: bool = False,
    ) -> None:
        """mints: whether an auth key can be had when one is needed. rejoins: whether those make ephemeral nodes."""
        self.private: NodePrivateKey = private
        self.auth_key: str = auth_key
        self.ephemeral: bool = ephemeral
        self.wanted: bool = True
        self.known: bool = enrolled
        self.expired: bool = False
        self.followup: str = ""
        self.attempt: NodePrivateKey = private
        self._lock_key, self._entropy = lock_key, entropy
        self._old: NodePrivateKey | None = None
        self._accepted_auth_key = auth_key  # or the first; one that control refuses is forgotten
        self._mints, self._minted = mints and not auth_key, ""
        self._rejoins = rejoins
        self._shows_auth_key = self.has_key and not enrolled

    @property
    def has_key(self) -> bool:
        """Whether there is an auth key, or one can be had."""
        return bool(self.auth_key) or self._mints

    @property
    def key_was_made(self) -> bool:
        """Whether the auth key that the last request showed was made for it."""
        return self._mints and not self.auth_key

    @property
    def may_start_over(self) -> bool:
        """Whether a node that control has deleted becomes another one by itself: an ephemeral one that has a key."""
        return self.has_key and (self.ephemeral or self._rejoins)

    @property
    def needs_key(self) -> bool:
        """Whether the next request is to show an auth key that must be had first."""
        shows = self._shows_auth_key and not self.followup
        return self.wanted and shows and self._mints and not (self.auth_key or self._minted)

    def take_key(self, auth_key: str) -> None:
        """The key that was needed, for one request."""
        self._minted = auth_key

    def renew(self, auth_key: str = "") -> None:
        """Log in anew. A key that control knows is to be replaced; it stays in use until the new one is accepted."""
        self.auth_key = auth_key or self._accepted_auth_key
        self._shows_auth_key = self.has_key
        if self.known:
            self._begin(NodePrivateKey(self._entropy(32)), self.private)
        else:
            self._begin(self.attempt, None)

    def restart(self) -> None:
        """Begin as a new process with this key would: a node that control knows holds its auth key back."""
        self._shows_auth_key = self.has_key and not self.known
        self._begin(self.private, None)

    def give_up(self) -> None:
        """End the attempt. The node's key stays what it was."""
        self.wanted, self.followup = False, ""
        self.attempt, self._old, self.auth_key = self.private, None, self._accepted_auth_key

    def resume(self) -> None:
        """End the attempt: control accepts the expired key again."""
        self.give_up()
        self.expired = False

    def start_over(self) -> None:
        """Begin as another node, with a new key that names no old one: control has forgotten this one."""
        self.known = self.expired = False
        self._shows_auth_key = self.has_key
        self._begin(NodePrivateKey(self._entropy(32)), None)

    def request(self, hostinfo: Mapping[str, Any]) -> RegisterRequest:
        minted, self._minted = self._minted, ""
        return RegisterRequest(
            node_key=node_public(self.attempt),
            old_node_key=node_public(self._old) if self._old is not None else None,
            lock_key=self._lock_key,
            auth_key=(self.auth_key or minted) if self._shows_auth_key else "",
            followup=self.followup,
            hostinfo=hostinfo,
            ephemeral=self.ephemeral,
        )

    def recheck_request(self, hostinfo: Mapping[str, Any]) -> RegisterRequest:
        """Ask whether control accepts the node's own key again. It shows no auth key."""
        return RegisterRequest(node_key=node_public(self.private), lock_key=self._lock_key, hostinfo=hostinfo)

    def logout_request(self, key: NodePrivateKey, hostinfo: Mapping[str, Any]) -> RegisterRequest:
        return RegisterRequest(
            node_key=node_public(key), lock_key=self._lock_key, expiry=LOGOUT_EXPIRY, hostinfo=hostinfo
        )

    def accept(self, response: RegisterResponse) -> Outcome:
        if response.error:
            self.followup = ""
            return Denied(response.error)
        if response.node_key_signature:
            return Denied("this tailnet uses Tailnet Lock and wants the node key signed anew")
        if (response.auth_url or response.node_key_expired) and self.has_key and not self._shows_auth_key:
            self._shows_auth_key = True
            if not response.node_key_expired:
                return Again()
        if response.node_key_expired:
            return self._expired()
        if response.auth_url:
            repeated, self.followup = response.auth_url == self.followup, response.auth_url
            return Waiting(response.auth_url, repeated)
        return self._commit(response)

    def _expired(self) -> Outcome:
        if self.attempt != self.private:
            return Denied("control says that a new node key has expired already", key_expired=True)
        self.expired = True
        self._begin(NodePrivateKey(self._entropy(32)), self.private)
        return Again()

    def _commit(self, response: RegisterResponse) -> Accepted:
        rotated = self.attempt != self.private
        accepted = Accepted(response.user, rotated, self._old, response.machine_authorized)
        self.private, self._old, self._accepted_auth_key = self.attempt, None, self.auth_key
        self.wanted, self.known, self.expired, self.followup = False, True, False, ""
        return accepted

    def _begin(self, attempt: NodePrivateKey, old: NodePrivateKey | None) -> None:
        self.attempt, self._old, self._minted = attempt, old, ""
        self.wanted, self.followup = True, ""
