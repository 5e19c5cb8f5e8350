"""What control's node attributes ask of this node: capabilities of our own node in the netmap, read once for all rooms.

| attribute               | what it asks                                      | obeyed by                              |
|-------------------------|---------------------------------------------------|----------------------------------------|
| `only-tcp-443`          | no UDP: relays only, measured over HTTPS          | `surroundings`, `disco`, `portmapping` |
| `silent-disco`          | paths are found, but not kept warm by pings       | `disco`                                |
| `debug-always-stun`     | our endpoints are measured while we are idle, too | `surroundings`                         |
| `debug-disable-upnp`    | no port is asked of a router by UPnP              | `portmapping`                          |
| `randomize-client-port` | any UDP port, whatever was configured or saved    | `node`, `edge.run.pump`                |
| `disable-relay-client`  | no peer relays                                    | `disco`                                |
| `peer-mtu-enable`       | larger datagrams where the path carries them      | `disco` (`pathmtu`)                    |
| `debug-conn-reject`     | what is rejected is kept, for control to ask for  | `rejectedflows`                        |
| `disable-udp-gso`,      | no batches by the kernel's segmentation           | `edge.run.pump`                        |
| `never-gso-equal-tail`  |                                                   |                                        |
| `disable-udp-gro`       | datagrams are not joined by the kernel            | `edge.run.pump`                        |
| `cache-network-maps`,   | the netmap is kept for a start without control    | `cachednetmap`                         |
| `disable-cache-…`       |                                                   |                                        |
| `probe-udp-lifetime`    | how long a silent path lasts is measured          | not yet                                |

An attribute is set by its presence; its values do not matter. `never-gso-equal-tail` asks for batches that do not all
have the same length, which a batch of one stream has: such a node sends none.

Source: Go tailcfg/tailcfg.go (NodeCapability), tailcfg/nodecap.
Not here: attributes of peers, and of the whole tailnet.
"""

from __future__ import annotations

from collections.abc import Container

from tsnet.base.records import record


@record
class NodeAttributes:
    """Each is False while control does not ask for it."""

    only_tcp_443: bool = False
    silent_disco: bool = False
    always_stun: bool = False
    disable_upnp: bool = False
    randomize_client_port: bool = False
    disable_relay_client: bool = False
    peer_mtu_enable: bool = False
    probe_udp_lifetime: bool = False
    conn_reject: bool = False
    disable_udp_gso: bool = False
    disable_udp_gro: bool = False
    never_gso_equal_tail: bool = False
    cache_network_maps: bool = False
    disable_cache_network_maps: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Those that control asks for."""
        return tuple(name for field, name in NAMES.items() if getattr(self, field))


NAMES = {
    "only_tcp_443": "only-tcp-443",
    "silent_disco": "silent-disco",
    "always_stun": "debug-always-stun",
    "disable_upnp": "debug-disable-upnp",
    "randomize_client_port": "randomize-client-port",
    "disable_relay_client": "disable-relay-client",
    "peer_mtu_enable": "peer-mtu-enable",
    "probe_udp_lifetime": "probe-udp-lifetime",
    "conn_reject": "debug-conn-reject",
    "disable_udp_gso": "disable-udp-gso",
    "disable_udp_gro": "disable-udp-gro",
    "never_gso_equal_tail": "never-gso-equal-tail",
    "cache_network_maps": "cache-network-maps",
    "disable_cache_network_maps": "disable-cache-network-maps",
}


def attributes_of(capabilities: Container[str]) -> NodeAttributes:
    """capabilities: the names of those that our own node has."""
    return NodeAttributes(**{field: name in capabilities for field, name in NAMES.items()})
