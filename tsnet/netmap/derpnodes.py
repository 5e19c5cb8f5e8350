"""How a relay node is dialled, as control's map describes it: hosts, port, TLS.

| control says               | what is dialled                                                         |
|----------------------------|-------------------------------------------------------------------------|
| an address of a family     | that address                                                            |
| "" for a family            | the host name, which the edge looks up                                  |
| anything else ("none")     | nothing: that is how control switches a family off                      |
| DERPPort 0                 | 443; 3340 where relays are asked by plain http (TS_DEBUG_USE_DERP_HTTP) |
| CertName, InsecureForTests | how the certificate is judged (`base.links.Tls`)                        |

Source: Go tailcfg/derpmap.go, derp/derphttp/derphttp_client.go (dialNode, tlsClient).
Not here: which node is dialled when (`derp.attempts`, `netcheck.https`).
"""

from __future__ import annotations

from ipaddress import ip_address

from tsnet.base.links import Tls
from tsnet.netmap.model import DerpNode


def dial_hosts(node: DerpNode) -> tuple[str, ...]:
    """What to dial, in order; nothing if the node has no address."""
    hosts: list[str] = []
    for address, version in ((node.ipv4, 4), (node.ipv6, 6)):
        host = node.host_name if not address else address if _is_literal(address, version) else ""
        if host and host not in hosts:
            hosts.append(host)
    return tuple(hosts)


def dial_port(node: DerpNode, *, use_http: bool) -> int:
    return node.derp_port or (3340 if use_http else 443)


def dial_tls(node: DerpNode, *, use_http: bool) -> Tls | None:
    return None if use_http else Tls(node.host_name, node.cert_name, node.insecure_for_tests)


def _is_literal(address: str, version: int) -> bool:
    try:
        return ip_address(address).version == version
    except ValueError:
        return False
