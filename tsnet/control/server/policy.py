"""Who may reach whom in an embedded tailnet: accept rules, which are compiled into each node's packet filter.

    Policy.parse([{"src": ["alice@example.com"], "dst": ["tag:web:80,443", "shop:*"], "proto": "tcp"}])

| selector            | selects                                             |
|---------------------|-----------------------------------------------------|
| *                   | every node                                          |
| alice@example.com   | the nodes of that user that carry no tag            |
| tag:web             | the nodes with that tag                             |
| 100.64.0.0/24, ::1  | addresses, and the subnet routes that overlap them  |
| shop                | the node of that name                               |

A rule with "app" grants capabilities and lets no packet pass. One that grants RELAY says who may use a peer relay:
{"src": ["tag:client"], "dst": ["tag:relay:*"], "app": {"tailscale.com/cap/relay": []}}. Its sources are told in turn,
by RELAY_TARGET, which nodes are their relays.

A destination adds ports: `:*`, `:80`, `:80,443`, `:8000-8999`. A rule can only allow. Two nodes are peers if some rule
lets either reach the other: WireGuard needs both sides to know each other even where traffic goes one way.

Source: Go tailcfg.FilterRule for the result; a tailnet policy file's "acls" for the shape of a rule.
Not here: the state that rules are applied to (`tailnet`), the filter that obeys them (`tsnet.netmap.packetfilter`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import attrs

from tsnet.base.addresses import IPPrefix
from tsnet.base.records import record
from tsnet.errors import ConfigError
from tsnet.netmap.model import CapGrant, Destination, FilterRule, PortRange

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
ALL_PORTS = PortRange(0, 65535)
RELAY = "tailscale.com/cap/relay"
RELAY_TARGET = "tailscale.com/cap/relay-target"


@record
class Subject:
    """What a policy sees of a node. login: "" for a tagged node."""

    name: str
    login: str
    tags: tuple[str, ...] = ()
    addresses: tuple[IPPrefix, ...] = ()
    routes: tuple[IPPrefix, ...] = ()


@record
class Selector:
    """text: as in the table above. prefix: the text as a prefix, if it is one."""

    text: str
    prefix: IPPrefix | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        try:
            return cls(text, ip_network(text.removeprefix("[").removesuffix("]")))
        except ValueError:
            pass
        if not text or any(sign in text for sign in "/ []") or text == "tag:":
            raise ConfigError(f"policy: {text!r} selects nothing; use *, a login, tag:NAME, a node's name or a CIDR")
        return cls(text)

    def selects(self, subject: Subject) -> bool:
        if self.prefix is not None:
            return any(_overlap(self.prefix, own) for own in (*subject.addresses, *subject.routes))
        if self.text == "*":
            return True
        if self.text.startswith("tag:"):
            return self.text in subject.tags
        return subject.login == self.text if "@" in self.text else subject.name == self.text

    def sources(self, everyone: Iterable[Subject]) -> list[str]:
        """What this selects, as in FilterRule.SrcIPs."""
        if self.text == "*" or self.prefix is not None:
            return [self.text if self.prefix is None else str(self.prefix)]
        return [str(address) for subject in everyone if self.selects(subject) for address in _hosts(subject)]

    def destinations(self, subject: Subject) -> list[str]:
        """What this selects at one node, as in FilterRule.DstPorts; nothing if it does not select that node."""
        if not self.selects(subject):
            return []
        if self.text == "*" or self.prefix is not None:
            return [self.text if self.prefix is None else str(self.prefix)]
        return [str(address) for address in _hosts(subject)]


@record
class Accept:
    """One rule. protocols: none means TCP, UDP and ICMP. capabilities: with any, the rule grants them to its sources
    and lets no packet pass."""

    sources: tuple[Selector, ...]
    destinations: tuple[tuple[Selector, tuple[PortRange, ...]], ...] = ()
    protocols: tuple[int, ...] = ()
    capabilities: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)

    @classmethod
    def parse(cls, rule: Mapping[str, Any]) -> Accept:
        """From {"src": […], "dst": […], "proto": …, "app": {capability: [values]}}; a field may be missing."""
        if not isinstance(rule, Mapping):
            raise ConfigError(f'policy: a rule is {{"src": […], "dst": […]}}, not {rule!r}')
        if unknown := set(rule) - {"src", "dst", "proto", "app"}:
            raise ConfigError(f"policy: a rule has no {', '.join(sorted(unknown))}")
        capabilities = {name: tuple(values) for name, values in rule.get("app", {}).items()}
        return cls(
            sources=tuple(Selector.parse(text) for text in _texts(rule.get("src", ()), "src")),
            destinations=tuple(_destination(text) for text in _texts(rule.get("dst", ()), "dst")),
            protocols=_protocols(rule.get("proto", ())),
            capabilities=capabilities,
        )

    def written(self) -> dict[str, Any]:
        """The rule from which `parse` makes this one."""
        rule: dict[str, Any] = {
            "src": [selector.text for selector in self.sources],
            "dst": [f"{selector.text}:{_ports(spans)}" for selector, spans in self.destinations],
        }
        if self.protocols:
            rule["proto"] = list(self.protocols)
        if self.capabilities:
            rule["app"] = {name: list(values) for name, values in self.capabilities.items()}
        return rule

    def reaches(self, source: Subject, destination: Subject) -> bool:
        return any(selector.selects(source) for selector in self.sources) and any(
            selector.selects(destination) for selector, _ports in self.destinations
        )

    def at(self, subject: Subject, everyone: Sequence[Subject]) -> FilterRule | None:
        """This rule in one node's packet filter; None if the node is no destination, or nobody is a source."""
        sources = dict.fromkeys(text for selector in self.sources for text in selector.sources(everyone))
        places = [(text, ports) for selector, ports in self.destinations for text in selector.destinations(subject)]
        if not sources or not places:
            return None
        if self.capabilities:
            grant = CapGrant(tuple(prefix for text, _ports in places for prefix in _networks(text)), self.capabilities)
            return FilterRule(tuple(sources), grants=(grant,))
        spans = tuple(Destination(text, span) for text, ports in places for span in ports)
        return FilterRule(tuple(sources), spans, self.protocols)

    def back_at(self, subject: Subject, everyone: Sequence[Subject]) -> FilterRule | None:
        """What a grant of RELAY tells one of its sources: the nodes that are its relays. Else None."""
        if RELAY not in self.capabilities or not any(selector.selects(subject) for selector in self.sources):
            return None
        relays = [one for one in everyone if any(selector.selects(one) for selector, _ports in self.destinations)]
        if not relays:
            return None
        sources = tuple(str(address) for relay in relays for address in _hosts(relay))
        return FilterRule(sources, grants=(CapGrant(subject.addresses, {RELAY_TARGET: ()}),))


@record
class Policy:
    """tag_owners: which users may give a tag to their nodes. An auth key may always give its own tags."""

    rules: tuple[Accept, ...] = ()
    tag_owners: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    @classmethod
    def parse(cls, rules: Iterable[Mapping[str, Any]], tag_owners: Mapping[str, Iterable[str]] | None = None) -> Policy:
        """Read the rules. Raises ConfigError for one that means nothing."""
        if not isinstance(rules, Iterable) or isinstance(rules, (str, bytes, Mapping)):
            raise ConfigError(f"policy: takes a list of rules, not {rules!r}")
        if not isinstance(tag_owners, (Mapping, type(None))):
            raise ConfigError(f'tag_owners: takes {{"tag:web": ["ann@example.com"]}}, not {tag_owners!r}')
        owners = {_tag(tag): _texts(logins, f"the owners of {tag}") for tag, logins in (tag_owners or {}).items()}
        return cls(tuple(Accept.parse(rule) for rule in rules), owners)

    def written(self) -> list[dict[str, Any]]:
        """The rules from which `parse` makes this policy, without tag_owners."""
        return [accept.written() for accept in self.rules]

    def rules_for(self, subject: Subject, everyone: Sequence[Subject]) -> tuple[FilterRule, ...]:
        """The packet filter of one node: only the rules that lead to it, and what tells it of its peer relays."""
        found = (make(subject, everyone) for accept in self.rules for make in (accept.at, accept.back_at))
        return tuple(rule for rule in found if rule is not None)

    def are_peers(self, one: Subject, other: Subject) -> bool:
        return any(accept.reaches(one, other) or accept.reaches(other, one) for accept in self.rules)

    def may_tag(self, login: str, tag: str) -> bool:
        return login in self.tag_owners.get(tag, ())


def _texts(value: object, what: str) -> tuple[str, ...]:
    """A list of texts. One text alone would be read letter by letter."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"policy: {what} is a list, as in [{value!r}]")
    texts = tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"policy: {what} is a list of texts, not {value!r}")
    return texts


def _tag(tag: object) -> str:
    if not isinstance(tag, str) or not tag.startswith("tag:") or tag == "tag:":
        raise ConfigError(f"tag_owners: {tag!r} is no tag; a tag is such as tag:web")
    return tag


def _destination(text: str) -> tuple[Selector, tuple[PortRange, ...]]:
    """Read `selector:ports`. The selector may contain colons itself."""
    selector, colon, ports = text.rpartition(":")
    if not colon or not selector:
        raise ConfigError(f"policy: destination {text!r} names no ports; write {text}:* or {text}:80,443")
    return Selector.parse(selector), tuple(_port_range(part, text) for part in ports.split(","))


def _port_range(part: str, text: str) -> PortRange:
    if part == "*":
        return ALL_PORTS
    first, dash, last = part.partition("-")
    try:
        ports = PortRange(int(first), int(last if dash else first))
    except ValueError:
        raise ConfigError(f"policy: {part!r} in destination {text!r} is no port") from None
    if not 0 <= ports.first <= ports.last <= 65535:
        raise ConfigError(f"policy: {part!r} in destination {text!r} is no range of ports")
    return ports


def _ports(spans: Iterable[PortRange]) -> str:
    """The ports as `_destination` reads them."""
    return ",".join(str(span.first) if span.first == span.last else f"{span.first}-{span.last}" for span in spans)


def _protocols(value: str | int | Sequence[str | int]) -> tuple[int, ...]:
    entries: Sequence[str | int] = [value] if isinstance(value, (str, int)) else value
    numbers = [entry if isinstance(entry, int) else PROTOCOLS.get(entry, -1) for entry in entries]
    if any(not 0 <= number <= 255 for number in numbers):
        raise ConfigError(f"policy: {value!r} is no protocol; use a number or one of {', '.join(PROTOCOLS)}")
    return tuple(numbers)


def _hosts(subject: Subject) -> list[Any]:
    return [prefix.network_address for prefix in subject.addresses]


def _networks(text: str) -> tuple[IPPrefix, ...]:
    return (ip_network("0.0.0.0/0"), ip_network("::/0")) if text == "*" else (ip_network(text),)


def _overlap(one: IPPrefix, other: IPPrefix) -> bool:
    return one.version == other.version and one.overlaps(other)


ALLOW_ALL = Policy.parse([{"src": ["*"], "dst": ["*:*"]}])
