"""`debug("filter")`: who may open what at this node, as control's rules say, and the answer to one question.

Not here: how rules are judged (`netmap.packetfilter`, `netmap.filterrules`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tsnet.base.addresses import IPAddress
from tsnet.engine.debug.plain import Plain, counts
from tsnet.netmap.filterrules import ICMP, ICMPV6, SCTP, TCP, TSMP, UDP
from tsnet.netmap.model import FilterRule, RawDestination
from tsnet.netmap.packetfilter import PacketFilter

PROTOCOLS: Mapping[int, str] = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", TSMP: "tsmp", SCTP: "sctp"}
ALL_PORTS = (0, 65_535)


def filter_shape(
    rules: tuple[FilterRule, ...] | None, *, shields_up: bool, dropped: Mapping[str, int], skipped: int
) -> Plain:
    """rules: None if control has sent none, which denies everything."""
    return {
        "shields_up": shields_up,
        "denies_all": not rules or shields_up,
        "rules": [_rule(rule) for rule in rules or ()],
        "skipped": skipped,
        "dropped": counts(dropped),
    }


def _rule(rule: FilterRule) -> Plain:
    return {
        "from": list(rule.sources),
        "to": list(map(_destination, rule.raw_destinations)),
        "protocols": [PROTOCOLS.get(number, str(number)) for number in rule.protocols] or ["tcp", "udp", "icmp"],
        "grants": [
            {"to": list(map(str, grant.destinations)), "capabilities": sorted(grant.capabilities)}
            for grant in rule.grants
        ],
    }


def _destination(raw: RawDestination) -> str:
    """ "100.64.0.1:80", "100.64.0.1:*", "[fd7a::1]:8000-8999"."""
    where, first, last = raw
    ports = "*" if (first, last) == ALL_PORTS else str(first) if first == last else f"{first}-{last}"
    return f"[{where}]:{ports}" if ":" in where else f"{where}:{ports}"


def answer(packet_filter: PacketFilter, source: IPAddress, destination: IPAddress, port: int) -> Plain:
    """Whether the rules in force let the source open that port of ours. What is open already passes without them."""
    is_a_pair = source.version == destination.version
    return {
        "source": str(source),
        "destination": str(destination),
        "port": port,
        **{
            PROTOCOLS[number]: is_a_pair and packet_filter.allows(number, source.packed, destination.packed, port)
            for number in (TCP, UDP)
        },
    }
