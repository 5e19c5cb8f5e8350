"""What a worker does with a large map message, so that the node's thread has little left to do with it.

    decode ─► take for peers and rules that are as we know them the objects that we have ─► weigh the peers
           ─► parse the addresses in the rules, which the filter will look up (`netmap.filterrules.parse_ahead`)

Pure, in steps. The netmap does not change meanwhile: later messages wait (`mappoll`).

Not here: merging, which the node's thread does (`mapsession`).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from tsnet.base.steps import Steps
from tsnet.control.messages import MapResponse, decode_map_in_steps
from tsnet.netmap.filterrules import parse_ahead
from tsnet.netmap.limits import weigh
from tsnet.netmap.merge import MapUpdate, recognise
from tsnet.netmap.model import FilterRule, NetMap


def prepare_map(job: tuple[bytes, NetMap | None]) -> Steps[MapResponse]:
    """job: the message, and the netmap that it will change. Raises MalformedError."""
    message, netmap = job
    response = yield from decode_map_in_steps(message)
    update = yield from recognise(response.update, netmap)
    weight = 0
    for peer in update.peers:
        weight += weigh(peer)
        yield
    yield from parse_ahead(_rules(update))
    return attrs.evolve(response, update=update, peers_weight=weight if update.peers else None)


def _rules(update: MapUpdate) -> Iterable[FilterRule]:
    for rules in (update.packet_filter, *update.packet_filters.values()):
        yield from rules or ()
