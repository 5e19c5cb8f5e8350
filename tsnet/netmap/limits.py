"""How much a netmap may hold, however it came: in one message, or added by ten thousand small ones.

| what                     | at most                                                                          |
|--------------------------|----------------------------------------------------------------------------------|
| peers                    | MAX_PEERS                                                                        |
| users                    | MAX_USERS; those that no node names make room first                              |
| display messages         | MAX_MESSAGES                                                                     |
| names of packet filters  | MAX_FILTERS                                                                      |
| all of it                | MAX_WEIGHT bytes of memory, estimated from the values: what one message can bring |

DNS records, relays and health come whole in one message and replace those before, so they are bounded as the message
is; here they are a part of the weight, as rules and capabilities are.

Source: the weights are measured with tracemalloc; tests/netmap/test_limits.py compares.
Not here: one message (`control.mapsize`), what becomes of a message that is refused (`control.client.maproutine`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

from tsnet.base.compact import column
from tsnet.base.jsonsize import DICT, LIST, MEMBER, NUMBER, PLACE, STRING, WIDEST
from tsnet.base.malformed import MalformedError
from tsnet.netmap.model import DerpMap, DnsConfig, FilterRule, NetMap, Node, RawGrant, UserProfile
from tsnet.netmap.persistent import differences

MAX_PEERS = 16_384
MAX_USERS = 32_768
MAX_MESSAGES = 1024
MAX_FILTERS = 1024
MAX_WEIGHT = 138 << 20

NODE, PACKED, USER, ADDRESS = 640, 48, 128, 400
RULE, DESTINATION, GRANT = 96, 192, 144
REGION, RELAY, RESOLVER, RECORD = 400, 600, 200, 300

Field = tuple[Callable[[Any], Any], Callable[[Any], int]]
"""How to get a part of a value, and what the part weighs."""


class Scale:
    """The weight of one netmap after the other, which costs what changed from one to the next."""

    def __init__(self) -> None:
        self._netmap: NetMap | None = None
        self._peers = self._rest = 0

    @property
    def weight(self) -> int:
        return self._peers + self._rest

    def put(self, netmap: NetMap, peers: int | None = None) -> None:
        """This netmap takes the place of the last one. peers: what all of its peers weigh, if that is known.

        Raises MalformedError if it holds more than it may; then the last one stays.
        """
        last = self._netmap
        if peers is None:
            peers = self._peers + _of_peers(last, netmap)
        rest = self._rest + _of_tables(last, netmap) + _of_fields(last, netmap, _WHOLE)
        _check(netmap, peers + rest)
        self._netmap, self._peers, self._rest = netmap, peers, rest


def weigh(node: Node) -> int:
    """Bytes of memory for a node."""
    return _of_fields(None, node, _NODE)


def has_too_many_users(netmap: NetMap) -> bool:
    return len(netmap.users) > MAX_USERS


def _check(netmap: NetMap, weight: int) -> None:
    counts = (
        ("peers", len(netmap.peers), MAX_PEERS),
        ("users", len(netmap.users), MAX_USERS),
        ("display messages", len(netmap.display_messages), MAX_MESSAGES),
        ("packet filters", len(netmap.named_filters or ()), MAX_FILTERS),
    )
    for what, count, most in counts:
        if count > most:
            raise MalformedError(f"the netmap would have {count} {what}, and may have {most}")
    if weight > MAX_WEIGHT:
        raise MalformedError(f"the netmap would take {weight >> 20} MiB of memory, and may take {MAX_WEIGHT >> 20} MiB")


# --- weights ----------------------------------------------------------------------------------------------------


def _of_fields(before: Any, after: Any, fields: Iterable[Field]) -> int:
    """How much more `after` weighs than `before`; either may be None. Parts that are one object are passed over."""
    more = 0
    for get, weight in fields:
        old, new = None if before is None else get(before), None if after is None else get(after)
        if old is not new:
            more += (0 if new is None else weight(new)) - (0 if old is None else weight(old))
    return more


def _of_tables(before: NetMap | None, after: NetMap) -> int:
    """The same for the parts that a message may add to."""
    more = 0
    for get, weight in _TABLES:
        old, new = {} if before is None else get(before) or {}, get(after) or {}
        if old is not new:
            for key, (had, has) in differences(old, new).items():
                of_key = _text(key) if isinstance(key, str) else 0
                more += (0 if has is None else of_key + weight(has)) - (0 if had is None else of_key + weight(had))
    return more


def _of_peers(before: NetMap | None, after: NetMap) -> int:
    changes = differences({} if before is None else before.peers, after.peers).values()
    return sum(_of_fields(had, has, _NODE) for had, has in changes)


def _text(value: str) -> int:
    return STRING + _characters(value)


def _characters(value: str) -> int:
    return len(value) * (1 if value.isascii() else WIDEST)


def _texts(values: Iterable[str]) -> int:
    return sum(map(_text, values))


def _raw(value: Any) -> int:
    """What JSON becomes. Names count in each object, though most share them."""
    if isinstance(value, dict):
        return DICT + sum(MEMBER + _text(name) + _raw(item) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return LIST + sum(PLACE + _raw(item) for item in value)
    return _text(value) if isinstance(value, str) else NUMBER


def _packed(value: bytes | str) -> int:
    """What `packed` makes: text of ASCII and bytes take as much for each character."""
    return PACKED + len(value)


def _constant(weight: int) -> Callable[[Any], int]:
    return lambda _: weight


def _allowed_beside(node: Node) -> bytes:
    """Most peers have the same bytes for both."""
    return b"" if node.raw_allowed_ips is node.raw_addresses else node.raw_allowed_ips


_NODE: tuple[Field, ...] = (
    (attrgetter("id"), _constant(NODE)),
    (attrgetter("name"), _text),
    (attrgetter("stable_id"), _text),
    (attrgetter("created"), _text),
    (attrgetter("raw_addresses"), _packed),
    (_allowed_beside, _packed),
    (attrgetter("raw_primary_routes"), _packed),
    (attrgetter("raw_endpoints"), _packed),
    (attrgetter("tags"), _texts),
    (attrgetter("raw_hostinfo"), _packed),
    (attrgetter("raw_capabilities"), _packed),
)


def _user(user: UserProfile) -> int:
    return USER + sum(map(_characters, (user.login_name, user.display_name, user.profile_pic_url)))


_sources, _destinations, _grants = (column(FilterRule, name) for name in ("sources", "raw_destinations", "raw_grants"))


def _rules(rules: tuple[FilterRule, ...]) -> int:
    """There may be hundreds of thousands: all the counting is done by the standard library."""
    sources = list(chain.from_iterable(_sources(rules)))
    destinations = list(chain.from_iterable(_destinations(rules)))
    texts = [*sources, *map(itemgetter(0), destinations)]
    length = sum(map(len, texts)) * (1 if all(map(str.isascii, texts)) else WIDEST)  # addresses, and names of ASCII
    grants = chain.from_iterable(_grants(rules))
    return (
        RULE * len(rules) + STRING * len(sources) + DESTINATION * len(destinations) + length + sum(map(_grant, grants))
    )


def _grant(grant: RawGrant) -> int:
    return GRANT + sum(map(_packed, grant))


_TABLES: tuple[Field, ...] = (
    (attrgetter("users"), _user),
    (attrgetter("display_messages"), _raw),
    (attrgetter("named_filters"), _rules),
)


def _dns(dns: DnsConfig) -> int:
    resolvers = (*dns.resolvers, *dns.fallback_resolvers, *chain.from_iterable(dns.routes.values()))
    texts = (*dns.routes, *dns.domains, *dns.cert_domains, *(found.address for found in resolvers))
    bootstraps = sum(len(found.bootstrap) for found in resolvers)
    records = sum(RECORD + _characters(record.name) + _characters(record.value) for record in dns.extra_records)
    return _texts(texts) + RESOLVER * len(resolvers) + ADDRESS * bootstraps + records


def _derp_map(derp_map: DerpMap) -> int:
    regions = derp_map.regions.values()
    relays = sum(len(region.nodes) for region in regions)
    return REGION * len(regions) + RELAY * relays + NUMBER * len(derp_map.region_score)


_WHOLE: tuple[Field, ...] = (
    (attrgetter("self_node"), weigh),
    (attrgetter("dns"), _dns),
    (attrgetter("derp_map"), _derp_map),
    (attrgetter("health"), _texts),
)
