"""Home routers by what they do to UDP, as rules of nftables.

| kind        | mapping              | filtering           | port kept | hairpin | what it is                          |
|-------------|----------------------|---------------------|-----------|---------|-------------------------------------|
| none        | endpoint-independent | none                | yes       | yes     | public addresses, no firewall       |
| fullcone    | endpoint-independent | none                | yes       | no      | what game consoles wish for         |
| restricted  | endpoint-independent | by address          | yes       | no      | the same, to who was spoken to      |
| easy        | endpoint-independent | by address and port | yes       | no      | Linux `masquerade`: most homes      |
| stray       | endpoint-independent | by address and port | yes       | no      | easy, but takes in what is unasked  |
| hard        | by address and port  | by address and port | no        | no      | `masquerade random,fully-random`    |
| cgnat       | endpoint-independent | by address and port | yes       | no      | easy, behind a provider's easy one  |
| cgnat-hard  | by address and port  | by address and port | no        | no      | easy, behind a provider's hard one  |
| udp-blocked |                      |                     |           |         | easy for TCP; no UDP passes         |
| v6          | endpoint-independent | by address and port | yes       | yes     | IPv6 alone, a firewall with states  |
| dual        | endpoint-independent | by address and port | yes       | no      | easy for IPv4, and IPv6 beside it   |

`stray` differs from `easy` in nothing that RFC 5780 asks. A ping that comes before our own makes an entry in its
table of connections; our own ping is then sent from another port, and each retry keeps that entry alive.

A router's LAN is the device `lan`, its way out `wan`. The maps of `fullcone` and `restricted` are keyed by port: of two
hosts with the same port, the last one to speak has it.

Source: RFC 4787, RFC 5780; nft(8).
"""

from __future__ import annotations

from typing import Literal

import attrs

Mapping = Literal["", "independent", "by address and port"]
Filtering = Literal["", "none", "by address", "by address and port"]

PRIVATE_V4, PUBLIC_V4, V6 = "private IPv4", "public IPv4", "IPv6"
Addressing = Literal["private IPv4", "public IPv4", "IPv6", "both"]
BOTH: Addressing = "both"
"""Private IPv4, and IPv6 beside it."""

STATES = """
chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lan" accept
    meta l4proto ipv6-icmp accept
}"""

FORWARD = """
chain forward {
    type filter hook forward priority 0; policy drop;
    %s
    ct state established,related accept
    iifname "lan" accept
    ct status dnat accept
    meta l4proto ipv6-icmp accept
}"""

MASQUERADE = """
chain out {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade %s
}"""

FULL_CONE = """
map cone { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 2m; size 4096; }
chain learn {
    type filter hook postrouting priority 90;
    oifname "wan" ip protocol udp update @cone { udp sport : ip saddr }
}
chain in {
    type nat hook prerouting priority -100;
    iifname "wan" ip protocol udp dnat to udp dport map @cone
}"""

RESTRICTED = """
map cone { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 2m; size 4096; }
set spoken { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; size 4096; }
chain learn {
    type filter hook postrouting priority 90;
    oifname "wan" ip protocol udp update @cone { udp sport : ip saddr }
    oifname "wan" ip protocol udp update @spoken { ip daddr . udp sport }
}
chain in {
    type nat hook prerouting priority -100;
    iifname "wan" ip saddr . udp dport @spoken dnat to udp dport map @cone
}"""


@attrs.frozen
class Kind:
    """rules: the statements of one nft table of `family`. provider: the rules of a second router before it."""

    name: str
    mapping: Mapping
    filtering: Filtering
    keeps_port: bool
    hairpin: bool
    rules: str
    provider: str = ""
    addressing: Addressing = "private IPv4"

    @property
    def family(self) -> str:
        return "inet" if self.has_v6 else "ip"

    @property
    def has_v6(self) -> bool:
        return self.addressing in (V6, BOTH)

    @property
    def has_private_v4(self) -> bool:
        return self.addressing in (PRIVATE_V4, BOTH)

    def __str__(self) -> str:
        return self.name


def _easy(masquerade: str = "", *, forward: str = "", before: str = STATES, more: str = "") -> str:
    return before + FORWARD % forward + MASQUERADE % masquerade + more


_HARD = _easy("random,fully-random")
_DUAL = _easy().replace('"wan" masq', '"wan" ip version 4 masq')
APDF: Filtering = "by address and port"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("none", "independent", "none", True, True, "", addressing="public IPv4"),
        Kind("fullcone", "independent", "none", True, False, _easy(more=FULL_CONE)),
        Kind("restricted", "independent", "by address", True, False, _easy(more=RESTRICTED)),
        Kind("easy", "independent", APDF, True, False, _easy()),
        Kind("stray", "independent", APDF, True, False, _easy(before="")),
        Kind("hard", "by address and port", APDF, False, False, _HARD),
        Kind("cgnat", "independent", APDF, True, False, _easy(), provider=_easy()),
        Kind("cgnat-hard", "by address and port", APDF, False, False, _easy(), provider=_HARD),
        Kind("udp-blocked", "", "", False, False, _easy(forward="meta l4proto udp drop")),
        Kind("dual", "independent", APDF, True, False, _DUAL, addressing=BOTH),
        Kind("v6", "independent", APDF, True, True, STATES + FORWARD % "", addressing="IPv6"),
    )
}

GRID = ("fullcone", "restricted", "easy", "stray", "hard")
"""The kinds of the five by five table."""

IMPOSSIBLE = frozenset(
    frozenset(pair)
    for pair in (
        ("easy", "stray"),
        ("easy", "hard"),
        ("stray", "stray"),
        ("stray", "hard"),
        ("hard", "hard"),
        ("cgnat", "stray"),
        ("cgnat", "hard"),
        ("cgnat-hard", "easy"),
        ("cgnat-hard", "stray"),
        ("cgnat-hard", "hard"),
        ("cgnat-hard", "cgnat"),
        ("cgnat-hard", "cgnat-hard"),
    )
)
"""Pairs that no simple exchange of pings joins whoever begins. A set with one name is two routers of that kind."""


def can_be_direct(left: str, right: str) -> bool:
    """Whether two hosts behind these routers can reach each other without a relay (`test_punching` asks the kernel)."""
    if "dual" in (left, right):
        v4 = ["easy" if kind == "dual" else kind for kind in (left, right)]
        return {left, right} <= {"dual", "v6"} or can_be_direct(*v4)
    pair = frozenset((left, right))
    if "udp-blocked" in pair or ("v6" in pair and len(pair) > 1):
        return False
    return pair not in IMPOSSIBLE
