"""Where a region's nodes answer STUN: by an address that control names, or by a name that must be looked up.

| what control says of the family     | where the node is asked                                  |
|-------------------------------------|----------------------------------------------------------|
| STUNTestIP of that family           | there; of the other family: not at all                   |
| an address of that family           | there                                                    |
| nothing ("")                        | at the addresses of its host name                        |
| anything else ("none")              | not at all: that is how control switches a family off    |

STUNPort: 0 is 3478, -1 is no STUN.

Source: Go net/netcheck/netcheck.go (nodeAddrPort, nodeMight4, nodeMight6), tailcfg/derpmap.go.
Not here: the look-up (`names`), who is asked when (`plan`).
"""

from __future__ import annotations

from tsnet.base.addresses import parse_address
from tsnet.netmap.model import DerpNode

DEFAULT_PORT = 3478
MAX_PORT = 65_535
"""A socket raises for a greater one, and no OSError."""


def stun_port(node: DerpNode) -> int | None:
    """None if it answers no STUN, or if control names no port that there can be."""
    return (node.stun_port or DEFAULT_PORT) if 0 <= node.stun_port <= MAX_PORT else None


def stun_host(node: DerpNode, version: int) -> str:
    """An address of that family, or a name to be looked up; "" if the node cannot be asked over it."""
    if stun_port(node) is None:
        return ""
    if is_usable(node.stun_test_ip):
        return literal(node.stun_test_ip, version)
    given = node.ipv4 if version == 4 else node.ipv6
    if given:
        return literal(given, version)
    return literal(node.host_name, version) if parse_address(node.host_name) is not None else node.host_name


def is_test_node(node: DerpNode) -> bool:
    """Whether it is asked over both families, whatever addresses this machine has."""
    return bool(node.stun_test_ip) or node.ipv4 == "127.0.0.1"


def is_usable(text: str) -> bool:
    """Whether it is an address. A zone is no business of control's."""
    return "%" not in text and parse_address(text) is not None


def literal(text: str, version: int) -> str:
    """The address in its usual form if it is one of that family, else ""."""
    address = parse_address(text) if is_usable(text) else None
    return str(address) if address is not None and address.version == version else ""
