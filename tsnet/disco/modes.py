"""What steers path selection from outside: control's node attributes, and knobs of the environment.

| field    | when it is not the default                                                                             |
|----------|--------------------------------------------------------------------------------------------------------|
| udp      | False: DERP alone. Node attribute `only-tcp-443`, TS_DEBUG_ALWAYS_USE_DERP                             |
| direct   | False: relays alone, peer relays among them. TS_DEBUG_NEVER_DIRECT_UDP                                 |
| silent   | True: paths are found, but not kept warm. Node attribute `silent-disco`, TS_DEBUG_ENABLE_SILENT_DISCO  |
| relays   | False: no peer relays. Node attribute `disable-relay-client`                                           |
| loopback | True: this machine has no address but loopback, so that a peer on it may be reached there              |
| mtu      | True: paths are asked what they carry. Node attribute `peer-mtu-enable`, TS_DEBUG_ENABLE_PMTUD         |

Source: Go tailcfg/nodecap, wgengine/magicsock/debugknobs.go.
Not here: who reads them (`engine.surroundings`).
"""

from __future__ import annotations

from tsnet.base.records import record


@record
class DiscoModes:
    udp: bool = True
    direct: bool = True
    silent: bool = False
    relays: bool = True
    loopback: bool = False
    mtu: bool = False
