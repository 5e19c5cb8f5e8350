"""How much memory the values take that a map message is decoded to: an estimate from its JSON, before they are made.

    OF_ELEMENTS    field of a message that is a long list -> what one of its elements becomes
    decoded_size   what all other fields become

Seven bytes of JSON, `"::/0",` once more in a node's AllowedIPs, become a hundred, although they are packed. What is
counted is what a message has any number of. Hostinfo and capabilities are kept as JSON, and count as such.

Source: measured with tracemalloc; tests/control/test_mapsize.py compares.
Not here: the JSON itself (`base.jsonsize`), the decoding (`tailcfg`, `messages`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tsnet.control.gojson import items, mapping, objects

NODE, PREFIX, ENDPOINT, USER, PATCH, NAME = 560, 96, 160, 128, 256, 64
RULE, DESTINATION, GRANT = 128, 96, 192
RELAY, REGION, RESOLVER, ADDRESS, RECORD = 192, 144, 136, 400, 88
_OF_A_NODE = {"AllowedIPs": PREFIX, "Addresses": PREFIX, "PrimaryRoutes": PREFIX, "Endpoints": ENDPOINT, "Tags": NAME}
_OF_A_RULE = {"SrcIPs": NAME, "DstPorts": DESTINATION, "IPProto": 8}


def decoded_size(fields: Mapping[str, Any]) -> int:
    """Bytes. fields: of a map message; those of OF_ELEMENTS do not count."""
    return (
        _node(fields.get("Node"))
        + _lengths(fields, {"PeersRemoved": NAME, "Health": NAME})
        + sum(NAME * len(mapping(fields.get(name))) for name in ("PeerSeenChange", "OnlineChange", "DisplayMessages"))
        + _relays(mapping(fields.get("DERPMap")))
        + _dns(mapping(fields.get("DNSConfig")))
    )


def _lengths(fields: Mapping[str, Any], weights: Mapping[str, int]) -> int:
    return sum(weight * len(value) for name, weight in weights.items() if isinstance(value := fields.get(name), list))


def _node(value: Any) -> int:
    fields = mapping(value)
    size = NODE + _lengths(fields, _OF_A_NODE) + NAME * len(mapping(fields.get("CapMap")))
    if fields.get("AllowedIPs") == fields.get("Addresses"):  # as of most peers: they are made once
        size -= PREFIX * len(items(fields.get("Addresses")))
    return size


def _user(_fields: Mapping[str, Any]) -> int:
    return USER


def _patch(fields: Mapping[str, Any]) -> int:
    return PATCH + _lengths(fields, _OF_A_NODE) + NAME * len(mapping(fields.get("CapMap")))


def _rule(fields: Mapping[str, Any]) -> int:
    return RULE + _lengths(fields, _OF_A_RULE) + sum(map(_grant, objects(fields.get("CapGrant"))))


def _grant(fields: Mapping[str, Any]) -> int:
    return GRANT + _lengths(fields, {"Dsts": PREFIX, "Caps": NAME}) + NAME * len(mapping(fields.get("CapMap")))


def _relays(fields: Mapping[str, Any]) -> int:
    regions = mapping(fields.get("Regions")).values()
    return sum(REGION + RELAY * len(items(mapping(region).get("Nodes"))) for region in regions)


def _dns(fields: Mapping[str, Any]) -> int:
    lists = (fields.get("Resolvers"), fields.get("FallbackResolvers"), *mapping(fields.get("Routes")).values())
    return sum(map(_resolvers, lists)) + _lengths(
        fields, {"Domains": NAME, "CertDomains": NAME, "ExtraRecords": RECORD}
    )


def _resolvers(value: Any) -> int:
    found: Iterable[Mapping[str, Any]] = objects(value)
    return NAME + sum(RESOLVER + ADDRESS * len(items(item.get("BootstrapResolution"))) for item in found)


OF_ELEMENTS: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "Peers": _node,
    "PeersChanged": _node,
    "PeersChangedPatch": _patch,
    "UserProfiles": _user,
    "PacketFilter": _rule,
    "PacketFilters": _rule,
}
