"""`debug("derp")`: every relay region of the map, and the connections to those in use.

Not here: what a report on the network has measured (`netcheck`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsnet.engine.debug.plain import Plain, ago, ahead, counts, span

if TYPE_CHECKING:
    from tsnet.derp.client import Client
    from tsnet.engine.node import Node
    from tsnet.netmap.model import DerpRegion


def derp_shape(node: Node, now: float) -> Plain:
    """Of the node's relays, now."""
    home, regions = node.home, {} if node.netmap is None else node.netmap.derp_map.regions
    latencies = home.latencies()
    return {
        "home": home.region,
        "is_reachable": node.is_reachable,
        "stand_in": home.stand_in,
        "udp_answers": home.udp_answers,
        "wanted": sorted(node.engine.paths.regions_wanted(now) | home.regions_wanted()),
        "regions": [
            _region(number, region, node, latencies.get(number), now) for number, region in sorted(regions.items())
        ],
        "dropped": counts(node.relays.dropped),
    }


def _region(number: int, region: DerpRegion, node: Node, latency: tuple[float, float] | None, now: float) -> Plain:
    client = node.relays.clients.get(number)
    at, seconds = latency or (None, None)
    return {
        "region": number,
        "code": region.code,
        "name": region.name,
        "is_home": number == node.home.region,
        "latency": span(seconds),
        "measured_ago": ago(at, now),
        "connection": None if client is None else _connection(client, now),
        "trouble": node.relays.troubles.text(number),
    }


def _connection(client: Client, now: float) -> Plain:
    return {
        "stage": client.stage.value,
        "host": client.host,
        "is_suspect": client.is_suspect(now),
        "has_room": client.has_room,
        "due_in": ahead(client.deadline(), now),
        "dropped": counts(client.dropped),
    }
