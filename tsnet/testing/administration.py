"""What an administrator does with an embedded tailnet that runs: keys, logins, the policy, its users and nodes.

    tailnet.create_auth_key("bob@example.com", ephemeral=True)
    tailnet.approve("shop")                        tailnet.rename("shop", "till")
    tailnet.expire("till")                         tailnet.extend("till")
    tailnet.set_node_attributes("shop", ["only-tcp-443"])

On return, control has made the change and tells the nodes in its next turn; with `state=` it is saved as well.

Source: a Tailscale admin console and its policy file, for the words.
Not here: the state (`tsnet.control.server.tailnet`), the servers and their life (`tailnet`).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.base.malformed import MalformedError
from tsnet.control.server.credentials import OAuthClient, TrustedIssuer
from tsnet.control.server.members import Member, label_of
from tsnet.control.server.policy import ALLOW_ALL, Policy, Selector
from tsnet.control.server.tailnet import TailnetState
from tsnet.edge.run.host import Host
from tsnet.errors import ConfigError
from tsnet.netmap.whois import TAGGED_DEVICES
from tsnet.testing.tailnetnode import TailnetNode, addresses_of, shown

T = TypeVar("T")


class Administration(ABC):
    """The base of `Tailnet`, which says how a function is run in the loop that owns the servers."""

    user: str

    @property
    @abstractmethod
    def control_url(self) -> str: ...

    _state: TailnetState
    _host: Host

    @abstractmethod
    def _do(self, function: Callable[[], T]) -> T: ...

    def create_auth_key(
        self,
        user: str = "",
        *,
        reusable: bool = False,
        ephemeral: bool = False,
        tags: Iterable[str] = (),
        expires_in: float | None = None,
        preauthorized: bool = False,
    ) -> str:
        """Another key, for this user, who is made if unknown. It lets one node in, or any number if it is reusable.

        expires_in: seconds. preauthorized: its nodes need no approval where `Tailnet(wants_approval=True)` asks for it.
        """

        def create() -> str:
            expiry = None if expires_in is None else self._host.world.wall() + expires_in
            return self._state.create_auth_key(
                user or self.user,
                reusable=reusable,
                ephemeral=ephemeral,
                tags=tags,
                expires_at=expiry,
                preauthorized=preauthorized,
            ).text

        return self._do(create)

    def oauth_client(self, *, tags: Iterable[str], scopes: Iterable[str] = ("auth_keys",)) -> OAuthClient:
        """Another OAuth client, which may make auth keys for nodes with these tags.

        Its `secret` is what a server takes as `client_secret=`, or any client of Tailscale's as an auth key: it names
        this tailnet's control. Add "&ephemeral=false" for nodes that stay.
        """
        wanted = _some("tags", tags), _some("scopes", scopes)
        client = self._do(lambda: self._state.add_oauth_client(wanted[1], wanted[0]))
        return attrs.evolve(client, secret=f"{client.secret}?baseURL={quote(self.control_url, safe='')}")

    def trust_issuer(
        self,
        issuer: str,
        *,
        audience: str,
        jwks: Mapping[str, Any],
        tags: Iterable[str],
        subject: str = "*",
        scopes: Iterable[str] = ("auth_keys",),
    ) -> TrustedIssuer:
        """Let workloads join by ID tokens of this issuer. The `id` is what a server takes as `client_id=`.

        issuer, audience: must be those of the token. subject: what the token's must fit, with "*" for any characters.
        jwks: the issuer's keys, {"keys": […]}, RSA or EC with the curve P-256. tags: that its nodes may have.
        """
        wanted = _some("tags", tags), _some("scopes", scopes)
        keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(keys, (list, tuple)) or not all(isinstance(key, Mapping) for key in keys):
            raise ConfigError('jwks is a JSON Web Key Set, {"keys": […]}')

        def trust() -> TrustedIssuer:
            return self._state.trust_issuer(
                issuer, audience=audience, subject=subject, keys=keys, scopes=wanted[1], tags=wanted[0]
            )

        try:
            return self._do(trust)
        except MalformedError as error:
            raise ConfigError(f"jwks cannot be used: {error}") from None

    # --- who wants to get in --------------------------------------------------------------------------------------

    def logins(self) -> dict[str, str]:
        """The login URLs at which a node waits for a person, and what the node calls itself."""
        return self._do(
            lambda: {
                f"{self.control_url}/a/{login.auth_id}": login.hostname
                for login in self._state.logins.values()
                if login.user is None and not login.refused
            }
        )

    def approve(self, url: str, user: str = "") -> None:
        """Let a node in: one that waits at a login URL, as this user's; or one that waits for approval.

        url: the login URL, or the id at its end; or the name of the node. Raises KeyError if nobody waits there.
        """
        auth_id = url.rpartition("/")[2]

        def approve() -> None:
            member = None if auth_id in self._state.logins else self._state.named(url)
            if member is None:
                self._state.approve(auth_id, user or self.user)
            else:
                self._state.authorize(member)

        self._do(approve)

    def reject(self, url: str, reason: str = "the login was rejected") -> None:
        """Refuse the node that waits at this login URL, which is told the reason; or, by the name of a node, take the
        approval of `approve` back. Raises KeyError if no node waits there or has that name."""

        def reject() -> None:
            auth_id = url.rpartition("/")[2]
            member = None if auth_id in self._state.logins else self._state.named(url)
            if member is None:
                self._state.reject(auth_id, reason)
            else:
                self._state.disapprove(member)

        self._do(reject)

    # --- users and nodes ------------------------------------------------------------------------------------------

    def users(self) -> dict[str, tuple[str, ...]]:
        """The users by login, and the names of their nodes. Nodes with tags are no user's."""

        def users() -> dict[str, tuple[str, ...]]:
            owned: dict[int, list[str]] = {user: [] for user in self._state.users if user != TAGGED_DEVICES.id}
            for member in self._state.members.values():
                owned.get(member.user, []).append(member.name)
            return {self._state.users[user].login_name: tuple(names) for user, names in owned.items()}

        return self._do(users)

    def node(self, name: str) -> TailnetNode:
        """What control knows of a node now."""
        return self._do(lambda: shown(self._state, self._member(name), self._host.world.wall()))

    def set_policy(
        self, policy: Iterable[Mapping[str, Any]] | None, tag_owners: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Replace the rules and who may set tags; every node gets its new packet filter at once."""
        wanted = Policy.parse(() if policy is None else policy, tag_owners)
        if policy is None:
            wanted = Policy(ALLOW_ALL.rules, wanted.tag_owners)
        self._do(lambda: setattr(self._state, "policy", wanted))

    def nodes(self) -> dict[str, tuple[IPAddress, ...]]:
        """The nodes and their addresses, by name."""
        return self._do(lambda: {member.name: addresses_of(member) for member in self._state.members.values()})

    def online(self) -> frozenset[str]:
        """The nodes whose map stream is open."""
        return self._do(lambda: frozenset(m.name for m in self._state.members.values() if m.is_online))

    def remove(self, name: str) -> None:
        """Delete a node, as an administrator would."""
        self._do(lambda: self._state.delete(self._member(name)))

    def expire(self, name: str) -> None:
        """Let a node's key expire now: the node must log in again, unless somebody `extend`s the key."""
        self._do(lambda: self._state.expire(self._member(name), self._host.world.wall()))

    def extend(self, name: str, expires_in: float | None = None) -> None:
        """Make a node's key valid (again), without a login. expires_in: for so many seconds; None: for ever."""

        def extend() -> None:
            expiry = None if expires_in is None else self._host.world.wall() + expires_in
            self._state.extend(self._member(name), expiry)

        self._do(extend)

    def rename(self, name: str, to: str) -> None:
        """Give a node a name that stays, whatever it calls itself. to: "" names it after its hostname again."""

        def rename() -> None:
            member, other = self._member(name), self._state.named(to)
            if to and label_of(to) != to:
                raise ConfigError(f"{to!r} is no name of a node: use a-z, 0-9 and -")
            if other not in (None, member):
                raise ConfigError(f"another node of this tailnet is called {to!r}")
            self._state.give_name(member, to)

        self._do(rename)

    def set_node_attributes(self, target: str, attributes: Iterable[str] | Mapping[str, Iterable[Any]]) -> None:
        """Give nodes these attributes: nodeAttrs of a policy file, which control sends in CapMap. Those that `target`
        was given before are gone.

        target: whom it selects, now and later, as in the policy: "*", a login, "tag:web", a node's name.
        attributes: their names, as ["only-tcp-443", "silent-disco"]; or names with values. [] takes them away.
        """
        selector, found = Selector.parse(_target(target)), _attributes(attributes)
        self._do(lambda: self._state.set_node_attributes(selector, found))

    def _member(self, name: str) -> Member:
        member = self._state.named(name)
        if member is None:
            raise ConfigError(f"no node of this tailnet is called {name!r}")
        return member


def _some(name: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str) or not (found := tuple(values)) or not all(isinstance(one, str) for one in found):
        raise ConfigError(f"{name} is a list of texts, with one at least, and not {values!r}")
    return found


def _target(target: object) -> str:
    if not isinstance(target, str):
        raise ConfigError(f"node attributes: {target!r} is nobody; use *, a login, tag:NAME or a node's name")
    return target


def _attributes(attributes: Iterable[str] | Mapping[str, Iterable[Any]]) -> dict[str, tuple[Any, ...]]:
    if isinstance(attributes, str) or not isinstance(attributes, Iterable):
        raise ConfigError(f"the attributes of a node are a list, as in [{attributes!r}]")
    values = attributes if isinstance(attributes, Mapping) else dict.fromkeys(attributes, ())
    if not all(isinstance(name, str) and name for name in values):
        raise ConfigError(f"the attributes of a node have names, and are not {attributes!r}")
    return {name: _values(name, some) for name, some in values.items()}


def _values(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Copied, so that nobody changes them later."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ConfigError(f"the values of the attributes of a node are a list, as in {{{name!r}: [{values!r}]}}")
    try:
        return tuple(json.loads(json.dumps([*values], allow_nan=False)))
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(f"the values of the attributes of a node are JSON, which those of {name!r} are not") from None
