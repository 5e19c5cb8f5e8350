"""Policy rules: who is selected, what a node's filter becomes, who sees whom."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from tsnet.control.server.policy import ALLOW_ALL, RELAY, RELAY_TARGET, Policy, Selector, Subject
from tsnet.errors import ConfigError
from tsnet.netmap.model import CapGrant, Destination, FilterRule, PortRange


def subject(number: int, name: str, login: str = "", *tags: str, routes: tuple[str, ...] = ()) -> Subject:
    addresses = (ip_network(f"100.64.0.{number}"), ip_network(f"fd7a:115c:a1e0::{number}"))
    return Subject(name, login, tags, addresses, tuple(ip_network(route) for route in routes))


ALICE = subject(1, "laptop", "alice@example.com")
BOB = subject(2, "phone", "bob@example.com")
WEB = subject(3, "shop", "", "tag:web", "tag:prod")
ROUTER = subject(4, "router", "", "tag:router", routes=("10.1.0.0/16",))
EVERYONE = [ALICE, BOB, WEB, ROUTER]
ANY = PortRange(0, 65535)


def policy(*rules: dict[str, Any]) -> Policy:
    return Policy.parse(rules)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("*", ["laptop", "phone", "shop", "router"]),
        ("alice@example.com", ["laptop"]),
        ("nobody@example.com", []),
        ("tag:web", ["shop"]),
        ("tag:nothing", []),
        ("shop", ["shop"]),
        ("100.64.0.2", ["phone"]),
        ("fd7a:115c:a1e0::2", ["phone"]),
        ("[fd7a:115c:a1e0::2]", ["phone"]),
        ("100.64.0.0/31", ["laptop"]),
        ("10.1.2.0/24", ["router"]),
        ("0.0.0.0/0", ["laptop", "phone", "shop", "router"]),
        ("9.9.9.9", []),
    ],
)
def test_selectors(text: str, names: list[str]) -> None:
    selector = Selector.parse(text)
    assert [one.name for one in EVERYONE if selector.selects(one)] == names


def test_allow_all_is_one_open_rule() -> None:
    assert ALLOW_ALL.rules_for(ALICE, EVERYONE) == (FilterRule(("*",), (Destination("*", ANY),)),)
    assert ALLOW_ALL.are_peers(ALICE, WEB)


def test_no_rules_no_peers() -> None:
    assert policy().rules_for(ALICE, EVERYONE) == ()
    assert not policy().are_peers(ALICE, WEB)


def test_a_rule_reaches_its_destination_only() -> None:
    rules = policy({"src": ["alice@example.com"], "dst": ["tag:web:80,8000-8999"], "proto": "tcp"})
    (rule,) = rules.rules_for(WEB, EVERYONE)
    assert rule.sources == ("100.64.0.1", "fd7a:115c:a1e0::1")
    assert rule.destinations == (
        Destination("100.64.0.3", PortRange(80, 80)),
        Destination("100.64.0.3", PortRange(8000, 8999)),
        Destination("fd7a:115c:a1e0::3", PortRange(80, 80)),
        Destination("fd7a:115c:a1e0::3", PortRange(8000, 8999)),
    )
    assert rule.protocols == (6,)
    assert [one.name for one in EVERYONE if rules.rules_for(one, EVERYONE)] == ["shop"]


def test_both_ends_of_a_one_way_rule_are_peers() -> None:
    rules = policy({"src": ["alice@example.com"], "dst": ["shop:*"]})
    assert rules.are_peers(ALICE, WEB)
    assert rules.are_peers(WEB, ALICE)
    assert not rules.are_peers(BOB, WEB)
    assert not rules.are_peers(ALICE, BOB)


def test_a_tagged_node_is_not_its_users() -> None:
    assert not policy({"src": ["alice@example.com"], "dst": ["bob@example.com:*"]}).are_peers(ALICE, WEB)


def test_sources_are_named_once() -> None:
    rules = policy({"src": ["tag:web", "tag:prod", "shop", "10.0.0.0/8"], "dst": ["*:22"]})
    (rule,) = rules.rules_for(ALICE, EVERYONE)
    assert rule.sources == ("100.64.0.3", "fd7a:115c:a1e0::3", "10.0.0.0/8")


def test_a_rule_of_nobody_is_left_out() -> None:
    assert policy({"src": ["tag:nothing"], "dst": ["*:*"]}).rules_for(ALICE, EVERYONE) == ()


def test_a_route_is_a_destination_at_its_router() -> None:
    rules = policy({"src": ["*"], "dst": ["10.1.2.0/24:443"]})
    (rule,) = rules.rules_for(ROUTER, EVERYONE)
    assert rule.destinations == (Destination("10.1.2.0/24", PortRange(443, 443)),)
    assert rules.rules_for(WEB, EVERYONE) == ()


def test_a_grant_of_a_peer_relay_tells_both_sides() -> None:
    """The relay: who may use it. Those: which nodes are relays, as Go's magicsock looks for them. Others: nothing."""
    found = policy({"src": ["tag:web"], "dst": ["laptop:*"], "app": {RELAY: []}})
    (at_relay,) = found.rules_for(ALICE, EVERYONE)
    assert at_relay.sources == tuple(str(prefix.network_address) for prefix in WEB.addresses)
    assert at_relay.grants == (CapGrant(ALICE.addresses, {RELAY: ()}),)
    (at_client,) = found.rules_for(WEB, EVERYONE)
    assert at_client.sources == tuple(str(prefix.network_address) for prefix in ALICE.addresses)
    assert at_client.grants == (CapGrant(WEB.addresses, {RELAY_TARGET: ()}),)
    assert at_client.destinations == at_relay.destinations == ()
    assert found.rules_for(BOB, EVERYONE) == ()
    assert found.are_peers(ALICE, WEB)
    assert policy({"src": ["tag:web"], "dst": ["nobody:*"], "app": {RELAY: []}}).rules_for(WEB, EVERYONE) == ()


def test_capabilities_are_granted_towards_the_nodes_own_addresses() -> None:
    rules = policy({"src": ["*"], "dst": ["shop:*"], "app": {"example.com/cap/admin": [{"level": 1}]}})
    (rule,) = rules.rules_for(WEB, EVERYONE)
    grant = CapGrant(WEB.addresses, {"example.com/cap/admin": ({"level": 1},)})
    assert rule == FilterRule(("*",), grants=(grant,))
    (rule,) = policy({"src": ["*"], "dst": ["*:*"], "app": {"a": []}}).rules_for(WEB, EVERYONE)
    assert rule.grants == (CapGrant((ip_network("0.0.0.0/0"), ip_network("::/0")), {"a": ()}),)


@pytest.mark.parametrize(
    ("given", "expected"), [("tcp", (6,)), (["tcp", "udp"], (6, 17)), (47, (47,)), ([1, "icmpv6"], (1, 58)), ((), ())]
)
def test_protocols(given: object, expected: tuple[int, ...]) -> None:
    (rule,) = policy({"src": ["*"], "dst": ["*:*"], "proto": given}).rules_for(WEB, EVERYONE)
    assert rule.protocols == expected


def test_ipv6_destinations_keep_their_colons() -> None:
    for text in ("fd7a:115c:a1e0::3:80", "[fd7a:115c:a1e0::3]:80"):
        (rule,) = policy({"src": ["*"], "dst": [text]}).rules_for(WEB, EVERYONE)
        assert rule.destinations == (Destination("fd7a:115c:a1e0::3/128", PortRange(80, 80)),)


@pytest.mark.parametrize(
    "rule",
    [
        {"src": ["*"], "dst": ["*:*"]},
        {"src": ["alice@example.com", "tag:web", "shop"], "dst": ["shop:80", "tag:db:5432,6000-6010,*"]},
        {"src": ["10.0.0.0/8", "::1"], "dst": ["[fd7a::1]:443", "fd7a::/64:*"], "proto": ["udp", 47]},
        {"src": ["*"], "dst": ["shop:*"], "proto": "tcp", "app": {"example.com/cap": [{"a": [1]}, None]}},
        {"src": []},
    ],
)
def test_what_is_written_is_read_as_the_same_rule(rule: dict[str, Any]) -> None:
    one = policy(rule)
    assert policy(*one.written()) == one
    assert policy(*one.written()).rules_for(WEB, EVERYONE) == one.rules_for(WEB, EVERYONE)


def test_who_may_tag() -> None:
    rules = Policy.parse([], {"tag:web": ["alice@example.com"]})
    assert rules.may_tag("alice@example.com", "tag:web")
    assert not rules.may_tag("bob@example.com", "tag:web")
    assert not rules.may_tag("alice@example.com", "tag:prod")


@pytest.mark.parametrize(
    "rule",
    [
        {"src": ["*"], "dst": ["shop"]},
        {"src": ["*"], "dst": [":80"]},
        {"src": ["*"], "dst": ["shop:http"]},
        {"src": ["*"], "dst": ["shop:80-"]},
        {"src": ["*"], "dst": ["shop:90-80"]},
        {"src": ["*"], "dst": ["shop:65536"]},
        {"src": [""], "dst": ["*:*"]},
        {"src": ["tag:"], "dst": ["*:*"]},
        {"src": ["10.0.0.1/8"], "dst": ["*:*"]},
        {"src": ["two words"], "dst": ["*:*"]},
        {"src": ["*"], "dst": ["*:*"], "proto": "gopher"},
        {"src": ["*"], "dst": ["*:*"], "proto": 256},
        {"src": ["*"], "dst": ["*:*"], "action": "drop"},
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="policy"):
        policy(rule)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (5, "takes a list of rules"),
        ("*", "takes a list of rules"),
        ({"src": ["*"]}, "takes a list of rules"),
        (["*"], "a rule is"),
        ([{"src": "alice@example.com"}], r"src is a list, as in \['alice@example.com'\]"),
        ([{"dst": "*:*"}], "dst is a list"),
        ([{"src": [5]}], "src is a list of texts"),
        ([{"src": 5}], "src is a list"),
    ],
)
def test_what_is_no_list_of_rules(rules: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Policy.parse(rules)


@pytest.mark.parametrize(
    "owners", [5, ["tag:web"], {"web": ["a@b"]}, {5: ["a@b"]}, {"tag:": []}, {"tag:web": "a@b"}, {"tag:web": [5]}]
)
def test_what_is_no_table_of_owners(owners: Any) -> None:
    with pytest.raises(ConfigError):
        Policy.parse((), owners)
