"""What one measurement has found: a `Draft` while it goes on, and a `Report` when it is over.

| field                        | what it says                                                                         |
|------------------------------|--------------------------------------------------------------------------------------|
| udp, ipv4, ipv6              | a STUN request has come back, over either, over v4, over v6                          |
| mapping_varies_by_dest_ip    | a hard NAT (`mappings`); None if too few servers have answered                       |
| region_latency, …_v4, …_v6   | seconds there and back, by region: over UDP, or over HTTPS where UDP is blocked      |
| global_v4, global_v6         | our UDP port as servers see it                                                       |
| captive_portal               | something on the way answers in a server's place; None if that was not asked         |
| upnp, pmp, pcp               | what the router offers to map ports; None if that was not asked                      |

Source: Go net/netcheck/netcheck.go (Report), tailcfg.NetInfo, wgengine/magicsock/magicsock.go (updateNetInfo).
Not here: how it is found (`probes`, `https`, `captive`), which region is home (`home`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.base.records import record
from tsnet.netcheck.mappings import Mappings
from tsnet.netcheck.plan import Latencies


@record
class Report:
    """at: when it was whole. is_full: whether all regions were asked. preferred_region: our home then, 0 for none."""

    at: float
    is_full: bool
    udp: bool = False
    ipv4: bool = False
    ipv6: bool = False
    os_has_ipv6: bool = False
    mapping_varies_by_dest_ip: bool | None = None
    upnp: bool | None = None
    pmp: bool | None = None
    pcp: bool | None = None
    preferred_region: int = 0
    region_latency: Mapping[int, float] = attrs.field(factory=dict)
    region_latency_v4: Mapping[int, float] = attrs.field(factory=dict)
    region_latency_v6: Mapping[int, float] = attrs.field(factory=dict)
    global_v4: UdpAddress | None = None
    global_v6: UdpAddress | None = None
    captive_portal: bool | None = None

    @property
    def latencies(self) -> Latencies:
        return Latencies(self.region_latency, self.region_latency_v4, self.region_latency_v6)


class Draft:
    """A report that is being made. seen: what servers see of our port."""

    def __init__(self, *, os_has_ipv6: bool) -> None:
        self.seen: Mappings = Mappings()
        self.captive_portal: bool | None = None
        self._os_has_ipv6 = os_has_ipv6
        self._ipv4 = self._ipv6 = False
        self._latency: dict[int, float] = {}
        self._by_family: dict[int, dict[int, float]] = {4: {}, 6: {}}

    @property
    def udp(self) -> bool:
        return bool(self._by_family[4] or self._by_family[6])

    @property
    def latencies(self) -> Latencies:
        return Latencies(self._latency, self._by_family[4], self._by_family[6])

    def over_udp(self, region: int, version: int, latency: float, mapped: UdpAddress) -> None:
        """A STUN server of that region has answered."""
        self._note(region, latency)
        family = self._by_family[version]
        family[region] = min(latency, family.get(region, latency))
        self._ipv4 |= version == 4
        self._ipv6 |= version == 6
        self.seen.add(mapped)

    def over_https(self, region: int, latency: float) -> None:
        """A relay of that region has answered a request over TLS."""
        self._note(region, latency)

    def would_help(self, region: int, version: int) -> bool:
        """Whether another answer from there would tell something new."""
        if region not in self._latency:
            return True
        return self.seen.varies is None if version == 4 else not self._by_family[6]

    def whole(self, at: float, home: int, *, is_full: bool) -> Report:
        return Report(
            at,
            is_full,
            udp=self.udp,
            ipv4=self._ipv4,
            ipv6=self._ipv6,
            os_has_ipv6=self._os_has_ipv6,
            mapping_varies_by_dest_ip=self.seen.varies,
            preferred_region=home,
            region_latency=dict(self._latency),
            region_latency_v4=dict(self._by_family[4]),
            region_latency_v6=dict(self._by_family[6]),
            global_v4=self.seen.v4,
            global_v6=self.seen.v6,
            captive_portal=self.captive_portal,
        )

    def _note(self, region: int, latency: float) -> None:
        self._latency[region] = min(latency, self._latency.get(region, latency))


def net_info(report: Report, *, port_mapped: bool = False) -> dict[str, Any]:
    """What control is told of a report (tailcfg.NetInfo), all but the home. What is not known is left out."""
    known: dict[str, bool | None] = {
        "MappingVariesByDestIP": report.mapping_varies_by_dest_ip,
        "WorkingIPv6": report.ipv6,
        "OSHasIPv6": report.os_has_ipv6,
        "WorkingUDP": report.udp,
        "WorkingICMPv4": False,  # this library sends no ICMP outside the tunnel
        "HavePortMap": port_mapped or None,
        "UPnP": report.upnp,
        "PMP": report.pmp,
        "PCP": report.pcp,
    }
    latencies = {f"{region}-v4": latency for region, latency in sorted(report.region_latency_v4.items())}
    latencies |= {f"{region}-v6": latency for region, latency in sorted(report.region_latency_v6.items())}
    info: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    return {**info, "DERPLatency": latencies} if latencies else info
