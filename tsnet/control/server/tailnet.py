"""The state of an embedded tailnet: users, auth keys, members, policy, DERP map and DNS, without any protocol.

    create_auth_key ─► redeem ─► admit ─► update … set_online … expire ─► rekey, extend … ─► delete
    begin_login ─► approve | reject          (interactive: a person looks at an AuthURL)
    admit, not authorized ─► authorize | disapprove    (a tailnet that wants approval: until then it has no peers)

`generation` grows with everything that a node could be told, so that a server knows when to look again; `revision`
grows with everything that must outlive a restart. A control server adds no state of its own: another one can go on
with the same tailnet. Times are Unix seconds.

    revision 7 ─► contents() ─► saved ─► kept = 7      an answer that relies on revision 7 may leave (`is_kept`)

If the tailnet is not saved at all, `nodestore` is infinite, and no answer waits.

Source: Go tstest/integration/testcontrol for what real clients need; Headscale's state for keys and rotation.
Not here: the decisions of /machine/register (`registration`), what one node sees (`view`), links (`server`), the saved
form (`snapshot`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from tsnet.base.addresses import IPPrefix, UdpAddress
from tsnet.base.keys import MachineKey, NodeKey
from tsnet.control.gojson import format_time, mapping
from tsnet.control.hostinfo import for_peers
from tsnet.control.messages import MapRequest
from tsnet.control.server.credentials import Credentials, OAuthClient, TrustedIssuer
from tsnet.control.server.members import MAX_HOST, Member, addresses_of, free_name, label_of, usable_endpoints
from tsnet.control.server.policy import ALLOW_ALL, Policy, Selector, Subject
from tsnet.netmap.model import DerpMap, DnsConfig, FilterRule, Node, UserProfile
from tsnet.netmap.whois import TAGGED_DEVICES

LOGIN_LIFETIME = 15 * 60.0
"""Seconds for which an AuthURL can be used."""

MAX_LOGINS = 1024
"""How many AuthURLs may wait at once, since anyone can ask for one. The oldest gives way."""

AUTH_ID_BYTES = 16
KEY_ID_BYTES, KEY_SECRET_BYTES = 6, 32


class Refusal(Exception):
    """Control refuses a request. The text is for the person who asked."""


@attrs.define(eq=False)
class AuthKey:
    """An opaque text that lets nodes in without a person: one node, or any number if it is reusable.

    is_preauthorized: its nodes need no approval where the tailnet wants one.
    """

    text: str = attrs.field(repr=False)
    user: int
    is_reusable: bool = False
    is_ephemeral: bool = False
    tags: tuple[str, ...] = ()
    expires_at: float | None = None
    is_used: bool = False
    is_preauthorized: bool = False


@attrs.define(eq=False)
class PendingLogin:
    """An AuthURL that a person has to visit. user: whose node it becomes, once approved. refused: why, if rejected."""

    auth_id: str
    machine: MachineKey
    key: NodeKey
    hostname: str
    begun_at: float
    user: int | None = None
    refused: str = ""


@attrs.frozen
class Contents:
    """The part of a tailnet that outlives a restart. It is a copy, which later events do not change.

    It leaves out the logins that wait, for which their nodes ask again, and the DERP map and DNS, which whoever starts
    the tailnet sets. last_id, last_host: the last number given to a node, and to its addresses.
    """

    users: tuple[UserProfile, ...] = ()
    auth_keys: tuple[AuthKey, ...] = ()
    members: tuple[Member, ...] = ()
    policy: Policy = ALLOW_ALL
    node_attributes: Mapping[str, Mapping[str, tuple[Any, ...]]] = attrs.field(factory=dict)
    last_id: int = 0
    last_host: int = 0
    clients: tuple[OAuthClient, ...] = ()
    issuers: tuple[TrustedIssuer, ...] = ()


class TailnetState:
    """base_domain: the MagicDNS suffix. derp_map: Go clients that join while it has no region wait for ever."""

    def __init__(
        self,
        *,
        entropy: Callable[[int], bytes],
        base_domain: str = "tailnet.test",
        policy: Policy = ALLOW_ALL,
        derp_map: DerpMap | None = None,
        dns: DnsConfig | None = None,
    ) -> None:
        self.base_domain = base_domain
        self.generation: int = 0
        self.revision: int = 0
        self.kept: float = math.inf
        """The last revision that is saved."""
        self.awaited: float = -math.inf
        """The last revision whose save somebody waits for."""
        self.wants_approval: bool = False
        """Whether a node that joins waits until an administrator approves of it."""
        self.users: dict[int, UserProfile] = {TAGGED_DEVICES.id: TAGGED_DEVICES}
        self.auth_keys: dict[str, AuthKey] = {}
        self.credentials: Credentials = Credentials(entropy)
        self.members: dict[int, Member] = {}
        self.logins: dict[str, PendingLogin] = {}
        self._entropy = entropy
        self._policy = policy
        self._derp_map = derp_map or DerpMap()
        self._dns = dns or DnsConfig(proxied=True, domains=(base_domain,))
        self._by_key: dict[NodeKey, Member] = {}
        self._last_id = self._last_host = 0
        self._nodes: dict[int, tuple[Node, Node]] = {}
        self._subjects: dict[int, Subject] | None = None
        self._rules: dict[int, tuple[FilterRule, ...]] = {}
        self._peers: dict[int, tuple[int, ...]] = {}
        self._attributes: dict[Selector, Mapping[str, tuple[Any, ...]]] = {}

    # --- what everybody shares ------------------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._subjects_changed()

    @property
    def derp_map(self) -> DerpMap:
        return self._derp_map

    @derp_map.setter
    def derp_map(self, derp_map: DerpMap) -> None:
        self._derp_map = derp_map
        self.generation += 1

    @property
    def dns(self) -> DnsConfig:
        return self._dns

    @dns.setter
    def dns(self, dns: DnsConfig) -> None:
        self._dns = dns
        self.generation += 1

    def set_node_attributes(self, target: Selector, attributes: Mapping[str, tuple[Any, ...]]) -> None:
        """Give the nodes that `target` selects these attributes, now and later, in place of those that it gave before.
        They add to the node's own capabilities."""
        self._attributes.pop(target, None)
        if attributes:
            self._attributes[target] = attributes
        self._nodes.clear()
        self.generation += 1
        self.revision += 1

    def add_user(self, login: str, display_name: str = "") -> UserProfile:
        """The user with that login, who is made if there is none."""
        for user in self.users.values():
            if user.login_name == login:
                return user
        last = max((id for id in self.users if id != TAGGED_DEVICES.id), default=0)
        user = UserProfile(last + 1, login, display_name or login.partition("@")[0])
        self.users[user.id] = user
        self.revision += 1
        return user

    # --- at rest --------------------------------------------------------------------------------------------------

    @property
    def is_kept(self) -> bool:
        """Whether everything until now would outlive a restart."""
        return self.revision <= self.kept

    def await_kept(self) -> int:
        """Ask for a save of everything until now. Returns the revision to wait for."""
        self.awaited = self.revision
        return self.revision

    def contents(self, unix_now: float) -> Contents:
        """What is to be saved. A node that is online counts as offline in it, last seen now: no stream outlives us."""
        clients, issuers = self.credentials.kept
        return Contents(
            users=tuple(user for user in self.users.values() if user.id != TAGGED_DEVICES.id),
            auth_keys=tuple(attrs.evolve(key) for key in self.auth_keys.values()),
            members=tuple(_at_rest(member, unix_now) for member in self.members.values()),
            policy=self._policy,
            node_attributes={target.text: dict(given) for target, given in self._attributes.items()},
            last_id=self._last_id,
            last_host=self._last_host,
            clients=clients,
            issuers=issuers,
        )

    def restore(self, contents: Contents) -> None:
        """Take on these contents. Call it before anything has happened in this tailnet."""
        self.users = {user.id: user for user in (TAGGED_DEVICES, *contents.users)}
        self.auth_keys = {key.text: attrs.evolve(key) for key in contents.auth_keys}
        self.members = {member.id: attrs.evolve(member) for member in contents.members}
        self._by_key = {member.key: member for member in self.members.values()}
        self._policy = contents.policy
        self._attributes = {Selector.parse(text): given for text, given in contents.node_attributes.items()}
        self._last_id, self._last_host = contents.last_id, contents.last_host
        self.credentials.restore(contents.clients, contents.issuers)
        self._subjects_changed()

    # --- getting in -----------------------------------------------------------------------------------------------

    def create_auth_key(
        self,
        user: str = "",
        *,
        reusable: bool = False,
        ephemeral: bool = False,
        tags: Iterable[str] = (),
        expires_at: float | None = None,
        preauthorized: bool = False,
    ) -> AuthKey:
        """Make an auth key. user: the login of the owner; "" means the tailnet's own "user@<base domain>"."""
        owner = self.add_user(user or f"user@{self.base_domain}")
        text = f"tskey-auth-{self._entropy(KEY_ID_BYTES).hex()}-{self._entropy(KEY_SECRET_BYTES).hex()}"
        key = AuthKey(text, owner.id, reusable, ephemeral, tuple(tags), expires_at, is_preauthorized=preauthorized)
        self.auth_keys[text] = key
        self.revision += 1
        return key

    def add_oauth_client(self, scopes: Iterable[str], tags: Iterable[str]) -> OAuthClient:
        self.revision += 1
        return self.credentials.oauth_client(scopes, tags)

    def trust_issuer(self, issuer: str, **what: Any) -> TrustedIssuer:
        """what: as of `Credentials.trust`. Raises MalformedError."""
        trusted = self.credentials.trust(issuer, **what)
        self.revision += 1
        return trusted

    def redeem(self, text: str, unix_now: float) -> AuthKey:
        """The key with this text. Raises Refusal if it lets nobody in. Call `use` once it has let a node in."""
        key = self.auth_keys.get(text)
        if key is None:
            raise Refusal("invalid auth key")
        if key.expires_at is not None and key.expires_at <= unix_now:
            raise Refusal("auth key expired")
        if key.is_used and not key.is_reusable:
            raise Refusal("auth key already used")
        return key

    def use(self, key: AuthKey) -> None:
        """The key has let a node in."""
        key.is_used = True
        self.revision += 1

    def begin_login(self, machine: MachineKey, key: NodeKey, hostname: str, unix_now: float) -> PendingLogin:
        """Make an AuthURL. Old ones are forgotten, and an earlier one of the same key."""
        self.logins = {
            auth_id: login
            for auth_id, login in self.logins.items()
            if unix_now < login.begun_at + LOGIN_LIFETIME and (login.machine, login.key) != (machine, key)
        }
        while len(self.logins) >= MAX_LOGINS:
            del self.logins[next(iter(self.logins))]
        login = PendingLogin(self._entropy(AUTH_ID_BYTES).hex(), machine, key, hostname, unix_now)
        self.logins[login.auth_id] = login
        return login

    def approve(self, auth_id: str, user: str) -> None:
        """Let the node that waits at this AuthURL in, as this user's. Raises KeyError if no node waits there."""
        self.logins[auth_id].user = self.add_user(user).id
        self.generation += 1

    def reject(self, auth_id: str, reason: str = "the login was rejected") -> None:
        self.logins[auth_id].refused = reason
        self.generation += 1

    # --- members --------------------------------------------------------------------------------------------------

    def find(self, key: NodeKey | None) -> Member | None:
        return None if key is None else self._by_key.get(key)

    def named(self, name: str) -> Member | None:
        """The member with this name: its label, or its full name."""
        label = name.rstrip(".").removesuffix(f".{self.base_domain}")
        return next((member for member in self.members.values() if member.name == label), None)

    def of_machine(self, machine: MachineKey, user: int) -> Member | None:
        """The node that this machine has as one of this user's, whatever its key."""
        found = (member for member in self.members.values() if (member.machine, member.user) == (machine, user))
        return next(found, None)

    def admit(
        self,
        machine: MachineKey,
        key: NodeKey,
        user: int,
        hostinfo: Mapping[str, Any],
        unix_now: float,
        **fields: Any,
    ) -> Member:
        """Make a member, with a name and addresses of its own. fields: further fields of Member."""
        self._last_id += 1
        wanted = hostinfo.get("Hostname")
        member = Member(
            id=self._last_id,
            machine=machine,
            key=key,
            user=user,
            name=free_name(wanted if isinstance(wanted, str) else "", self._names()),
            addresses=self._next_addresses(),
            created_at=unix_now,
            hostinfo=hostinfo,
            **fields,
        )
        self.members[member.id] = member
        self._by_key[key] = member
        self._subjects_changed()
        return member

    def rekey(self, member: Member, key: NodeKey) -> None:
        """The member has logged in with another node key. It is the same node, and no longer expired."""
        del self._by_key[member.key]
        self._by_key[key] = member
        member.key, member.key_expiry, member.was_expired = key, None, False
        self._changed(member)

    def update(self, member: Member, request: MapRequest) -> None:
        """Store what a node says of itself in a map request. A home region stays when a message lacks it. The same
        endpoints in another order are no news."""
        before = attrs.asdict(member, recurse=False)
        member.disco_key = request.disco_key or member.disco_key
        endpoints = usable_endpoints(request.endpoints)
        if set(endpoints) != set(member.endpoints):
            member.endpoints = endpoints
        self._take_hostinfo(member, request.hostinfo, request.version)
        self._compare(member, before)

    def refresh(self, member: Member, hostinfo: Mapping[str, Any], version: int) -> None:
        """Store what a node says of itself when it registers again."""
        before = attrs.asdict(member, recurse=False)
        self._take_hostinfo(member, hostinfo, version)
        self._compare(member, before)

    def change(self, member: Member, **fields: Any) -> None:
        """Set fields of a member by hand (tags, routes, capabilities, key_expiry, endpoints)."""
        for name, value in fields.items():
            setattr(member, name, value)
        self._subjects_changed()
        self._changed(member)

    def rename(self, member: Member, hostname: str) -> None:
        """Name the member after this hostname. A name that another one has gets a number."""
        if label_of(hostname) != member.name:
            member.name = free_name(hostname, self._names() - {member.name})
            self._subjects_changed()
            self._changed(member)

    def give_name(self, member: Member, name: str) -> None:
        """Name the member for good, whatever hostname it tells. "": name it after its hostname again."""
        member.has_given_name = bool(name)
        self.rename(member, name or member.hostname)
        self._changed(member)

    def authorize(self, member: Member) -> None:
        """An administrator approves of the member."""
        if not member.is_authorized:
            self.change(member, is_authorized=True)

    def disapprove(self, member: Member) -> None:
        """An administrator approves of the member no longer."""
        if member.is_authorized:
            self.change(member, is_authorized=False)

    def set_online(self, member: Member, online: bool, unix_now: float) -> None:
        if member.is_online != online:
            member.is_online, member.last_seen = online, unix_now
            self._changed(member)

    def expire(self, member: Member, unix_now: float) -> None:
        """Expire the member's key: it has to log in again."""
        member.key_expiry, member.was_expired = unix_now, True
        self._changed(member)

    def extend(self, member: Member, key_expiry: float | None = None) -> None:
        """Make the member's key valid again without a login. key_expiry: None means for ever."""
        member.key_expiry, member.was_expired = key_expiry, False
        self._changed(member)

    def delete(self, member: Member) -> None:
        """Remove the member. Its machine may come back as a new node."""
        del self.members[member.id]
        self._by_key.pop(member.key, None)
        self._nodes.pop(member.id, None)
        self._subjects_changed()

    def add_wireguard_peer(
        self, name: str, key: NodeKey, endpoint: UdpAddress, *, user: str = "", unix_now: float = 0.0
    ) -> Member:
        """Add a plain WireGuard node at a fixed address. It has no disco and no DERP, and does not know control."""
        owner = self.add_user(user or f"user@{self.base_domain}")
        fields = {"endpoints": (endpoint,), "is_wireguard_only": True, "is_online": True}
        return self.admit(MachineKey.zero(), key, owner.id, {"Hostname": name}, unix_now, **fields)

    # --- what a node may know -------------------------------------------------------------------------------------

    def self_node(self, member: Member) -> Node:
        """The member as it is shown to itself."""
        return self._both_nodes(member)[0]

    def peers_of(self, member: Member) -> dict[int, Node]:
        """The other nodes that this member may reach or be reached by, by id. Nodes without a disco key are left out,
        unless they are plain WireGuard. A node that nobody has approved of has no peers, and is nobody's."""
        if not member.is_authorized:
            return {}
        if member.id not in self._peers:
            subjects = self._all_subjects()
            own = subjects[member.id]
            self._peers[member.id] = tuple(
                other
                for other, subject in subjects.items()
                if other != member.id and self.members[other].is_authorized and self._policy.are_peers(own, subject)
            )
        others = (self.members[other] for other in self._peers[member.id])
        return {other.id: self._both_nodes(other)[1] for other in others if other.disco_key or other.is_wireguard_only}

    def rules_for(self, member: Member) -> tuple[FilterRule, ...]:
        if not member.is_authorized:
            return ()
        if member.id not in self._rules:
            subjects = self._all_subjects()
            self._rules[member.id] = self._policy.rules_for(subjects[member.id], list(subjects.values()))
        return self._rules[member.id]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _take_hostinfo(self, member: Member, hostinfo: Mapping[str, Any], version: int) -> None:
        member.capability_version = version or member.capability_version
        if not hostinfo:
            return
        old = member.hostinfo
        network = hostinfo.get("NetInfo") or old.get("NetInfo")
        member.hostinfo = {**hostinfo, "NetInfo": network} if network else hostinfo
        home = mapping(network).get("PreferredDERP")
        if type(home) is int and 0 < home < 1 << 31:  # True is no region, and Go would not read it as one
            member.home_region = home
        if hostinfo.get("Hostname") != old.get("Hostname") and not member.has_given_name:
            self.rename(member, member.hostname)

    def _compare(self, member: Member, before: Mapping[str, Any]) -> None:
        if attrs.asdict(member, recurse=False) != before:
            self._changed(member)

    def _changed(self, member: Member) -> None:
        self._nodes.pop(member.id, None)
        self.generation += 1
        self.revision += 1

    def _subjects_changed(self) -> None:
        """Something has changed that a policy looks at."""
        self._subjects = None
        self._rules.clear()
        self._peers.clear()
        self.generation += 1
        self.revision += 1

    def _names(self) -> set[str]:
        return {member.name for member in self.members.values()}

    def _next_addresses(self) -> tuple[IPPrefix, ...]:
        while self._last_host < MAX_HOST:
            self._last_host += 1
            addresses = addresses_of(self._last_host)
            if addresses is not None:
                return addresses
        raise Refusal("this tailnet has given all its addresses away")

    def _all_subjects(self) -> dict[int, Subject]:
        if self._subjects is None:
            self._subjects = {member.id: self._subject(member) for member in self.members.values()}
        return self._subjects

    def _subject(self, member: Member) -> Subject:
        login = "" if member.tags else self.users[member.user].login_name
        return Subject(member.name, login, member.tags, member.addresses, member.routes)

    def _both_nodes(self, member: Member) -> tuple[Node, Node]:
        """The member as it is shown to itself, and to others."""
        if member.id not in self._nodes:
            own = self._node(member)
            self._nodes[member.id] = own, attrs.evolve(own, hostinfo=for_peers(member.hostinfo), machine=None)
        return self._nodes[member.id]

    def _node(self, member: Member) -> Node:
        return Node(
            id=member.id,
            stable_id=member.stable_id,
            name=f"{member.name}.{self.base_domain}",
            key=member.key,
            user=TAGGED_DEVICES.id if member.tags else member.user,
            machine=member.machine,
            disco_key=member.disco_key,
            addresses=member.addresses,
            allowed_ips=(*member.addresses, *member.routes),
            endpoints=member.endpoints,
            home_region=member.home_region,
            hostinfo=member.hostinfo,
            created=format_time(member.created_at),
            capability_version=member.capability_version,
            tags=member.tags,
            primary_routes=member.routes,
            key_expiry=member.key_expiry,
            last_seen=None if member.is_online else member.last_seen,
            online=member.is_online,
            machine_authorized=member.is_authorized,
            capabilities=self._capabilities(member),
            expired=member.was_expired,
            is_wireguard_only=member.is_wireguard_only,
        )

    def _capabilities(self, member: Member) -> Mapping[str, tuple[Any, ...]]:
        """Its own, and those that it gets as one of several."""
        if not self._attributes:
            return member.capabilities
        subject = self._subject(member)
        given = [attributes for target, attributes in self._attributes.items() if target.selects(subject)]
        return {name: values for some in (member.capabilities, *given) for name, values in some.items()}


def _at_rest(member: Member, unix_now: float) -> Member:
    """A copy of the member, offline. A plain WireGuard node stays online, since it never has a stream."""
    if not member.is_online or member.is_wireguard_only:
        return attrs.evolve(member)
    return attrs.evolve(member, is_online=False, last_seen=unix_now)
