"""The names of a tailnet, to addresses and back, as MagicDNS would answer, but without DNS.

| name                      | belongs to                                                             |
|---------------------------|------------------------------------------------------------------------|
| shop.tail1234.ts.net      | the node of that name, which may be ourselves; a trailing dot is fine  |
| shop                      | the same, for nodes whose name has the suffix of our own name          |
| db.example.com            | an extra record of the tailnet's DNS, when no node has the name        |

Names are compared without case. They resolve whether or not the tailnet has MagicDNS switched on, as in Go's tsnet.

Source: Go net/tsdial/dnsmap_state.go, tsdial.go UserDial; ipn/ipnlocal/node_backend.go dnsConfigForNetmap.
Not here: DNS messages and resolvers (`tsnet.dns`), identities (`whois`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from tsnet.base.addresses import IPAddress, parse_address
from tsnet.netmap.model import DnsRecord, NetMap, Node


class Names:
    """The names of one netmap; immutable, rebuilt with the netmap. suffix: our tailnet's, without dots around it."""

    def __init__(self, netmap: NetMap) -> None:
        self.suffix: str = canonical(netmap.self_node.name).partition(".")[2]
        self._addresses: dict[str, tuple[IPAddress, ...]] = {}
        for node in chain((netmap.self_node,), netmap.peers.values()):
            self._add(node)
        for name, addresses in _records(netmap.dns.extra_records).items():
            self._addresses.setdefault(name, addresses)

    def resolve(self, name: str) -> tuple[IPAddress, ...]:
        """All addresses of that name, in the order in which control sends them; empty if nobody has the name."""
        return self._addresses.get(canonical(name), ())

    def name_of(self, node: Node) -> str:
        """The shortest name that resolves: one label within our tailnet, the full name for a node shared into it."""
        return self._short(canonical(node.name)) or canonical(node.name)

    def _add(self, node: Node) -> None:
        full = canonical(node.name)
        if not full:
            return
        for name in (full, self._short(full)):
            if name:
                self._addresses.setdefault(name, node.ips)

    def _short(self, full: str) -> str:
        label, _dot, rest = full.partition(".")
        return label if rest == self.suffix else ""


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
