"""The names of a tailnet, to addresses and back, as MagicDNS would answer, but without DNS.

| name                      | belongs to                                                             |
|---------------------------|------------------------------------------------------------------------|
| shop.tail1234.ts.net      | the node of that name, which may be ourselves; a trailing dot is fine  |
| shop                      | the same, for nodes whose name has the suffix of our own name          |
| db.example.com            | an extra record of the tailnet's DNS, when no node has the name        |

Names are compared without case. They resolve whether or not the tailnet has MagicDNS switched on, as in Go's tsnet.
Of several peers with one name the one with the lowest id has it, and we have ours whoever else claims it.

Source: Go net/tsdial/dnsmap_state.go, tsdial.go UserDial; ipn/ipnlocal/node_backend.go dnsConfigForNetmap.
Not here: DNS messages and resolvers (`tsnet.dns`), identities (`whois`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from tsnet.base.addresses import IPAddress, parse_address
from tsnet.netmap.changes import Changes
from tsnet.netmap.index import Index
from tsnet.netmap.model import DnsRecord, NetMap, Node

_Records = Mapping[str, tuple[IPAddress, ...]]


class Names:
    """The names of one netmap; immutable. suffix: our tailnet's, without dots around it.

    `after` gives those of the next netmap, and costs what changed; all names only if our own suffix did.
    """

    __slots__ = ("_index", "_netmap", "_own", "_records", "suffix")

    def __init__(self, netmap: NetMap, index: Index[str] | None = None, records: _Records | None = None) -> None:
        """index, records: those of the netmap, where they are known."""
        self.suffix: str = _suffix(netmap)
        self._netmap = netmap
        self._own = names_of(netmap.self_node, self.suffix)
        if index is None:
            index = Index(partial(names_of, suffix=self.suffix)).after(Changes.between(None, netmap).peers)
        self._index = index
        self._records = _records(netmap.dns.extra_records) if records is None else records

    def after(self, changes: Changes) -> Names:
        index = self._index.after(changes.peers) if self.suffix == _suffix(changes.after) else None
        return Names(changes.after, index, None if changes.of("dns") else self._records)

    def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """All addresses of that name, in the order in which control sends them; empty if nobody has the name."""
        name = canonical(name)
        if name in self._own:
            return self._netmap.self_node.ips
        ids = self._index.ids(name)
        return self._netmap.peers[ids[0]].ips if ids else self._records.get(name, ())

    def name_of(self, node: Node) -> str:
        """The shortest name that resolves: one label within our tailnet, the full name for a node shared into it."""
        full = canonical(node.name)
        return _short(full, self.suffix) or full


def names_of(node: Node, suffix: str) -> tuple[str, ...]:
    """All names of a node in a tailnet with that suffix: the full one, and the label if it is of this tailnet."""
    full = canonical(node.name)
    if not full:
        return ()
    short = _short(full, suffix)
    return (full, short) if short and short != full else (full,)


def _short(full: str, suffix: str) -> str:
    label, _dot, rest = full.partition(".")
    return label if rest == suffix else ""


def _suffix(netmap: NetMap) -> str:
    return canonical(netmap.self_node.name).partition(".")[2]


def canonical(name: str) -> str:
    return name.lower().rstrip(".")


def _records(records: Iterable[DnsRecord]) -> dict[str, tuple[IPAddress, ...]]:
    """The records that hold an address, by name. Other types are left to a resolver."""
    found: dict[str, tuple[IPAddress, ...]] = {}
    for record in records:
        address = parse_address(record.value)
        if address is not None and record.type in ("", "A", "AAAA"):
            name = canonical(record.name)
            found[name] = (*found.get(name, ()), address)
    return found
