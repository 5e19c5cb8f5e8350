"""Names that somebody may have meant by another one, which nobody has, or which several nodes might have.

| asked for             | what is near                                                                              |
|-----------------------|-------------------------------------------------------------------------------------------|
| db                    | db.other.ts.net, a node shared into our tailnet: it has no short name here                |
| shopp, sho, hsop      | shop: one letter more, less, wrong or swapped                                             |
| db.other.ts.net       | db.tail1234.ts.net: the same label in our own tailnet                                     |

Only labels are compared, and of many near names the first NEAR_MOST are given, so that a tailnet of thousands of nodes
costs milliseconds.

Not here: names that somebody has (`names`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tsnet.netmap.model import NetMap, Node
from tsnet.netmap.names import Names, canonical

NEAR_MOST = 3


def near_names(name: str, netmap: NetMap, names: Names) -> tuple[str, ...]:
    """The names, as they resolve, of nodes whose label is that of `name`, and then of those that are a slip away."""
    same = namesakes(name, netmap, names)
    label = _label(name)
    near = (names.name_of(node) for node in _nodes(netmap) if is_a_slip_away(label, _label(node.name)))
    return tuple(dict.fromkeys((*same, *islice(near, NEAR_MOST))))[:NEAR_MOST]


def namesakes(name: str, netmap: NetMap, names: Names) -> tuple[str, ...]:
    """The names of all nodes that have its label, whatever their tailnet: the shortest first."""
    label = _label(name)
    found = {names.name_of(node) for node in _nodes(netmap) if _label(node.name) == label}
    return tuple(sorted(found, key=lambda each: (len(each), each))[:NEAR_MOST])


def is_a_slip_away(one: str, other: str) -> bool:
    """Whether one letter more, less or wrong makes the one of the other, or two neighbours that changed places."""
    if one == other or abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 2:
        return False
    size = min(len(one), len(other))
    first = next((at for at in range(size) if one[at] != other[at]), size)
    left, right = one[first:], other[first:]
    if left[1:] == right[1:] or left[1:] == right or left == right[1:]:
        return True
    return left[:2] == right[:2][::-1] and left[2:] == right[2:]


def _nodes(netmap: NetMap) -> Iterator[Node]:
    yield netmap.self_node
    yield from netmap.peers.values()


def _label(name: str) -> str:
    return canonical(name).partition(".")[0]
