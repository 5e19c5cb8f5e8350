"""What `netcheck` finds of the network around a node, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from tsnet.base.addresses import UdpAddress, join_host_port

if TYPE_CHECKING:
    from tsnet.engine.facts import NetcheckDone


@attrs.frozen
class RegionLatency:
    """One relay region. latency: seconds there and back, over UDP, or over HTTPS where UDP is blocked; None if it has
    not answered. latency_v4, latency_v6: over UDP alone."""

    region: int
    code: str
    name: str
    latency: float | None
    latency_v4: float | None
    latency_v6: float | None


@attrs.frozen
class NetcheckReport:
    """udp, ipv4, ipv6: whether relays have answered over UDP, over v4, over v6.

    address_v4, address_v6: "host:port" of this node's UDP port, as relays see it. hard_nat: whether the NAT gives each
    destination another port, so that peers behind such a NAT, too, are reached through relays. upnp, pmp, pcp: what the
    router offers to map a port with. Where a value may be None, that means that nobody can tell.

    endpoints: where control and peers are told that this node may be reached. preferred_region: the home, or what is to
    become it. regions: nearest first, those that have not answered last.
    """

    udp: bool
    ipv4: bool
    ipv6: bool
    address_v4: str | None
    address_v6: str | None
    hard_nat: bool | None
    captive_portal: bool | None
    upnp: bool | None
    pmp: bool | None
    pcp: bool | None
    preferred_region: int
    endpoints: tuple[str, ...]
    regions: tuple[RegionLatency, ...]


def public_report(done: NetcheckDone) -> NetcheckReport:
    """What an application gets of a report."""
    report, regions = done.report, done.regions

    def text(address: UdpAddress | None) -> str | None:
        return None if address is None else join_host_port(*address)

    best, v4, v6 = report.region_latency, report.region_latency_v4, report.region_latency_v6
    found = [
        RegionLatency(number, region.code, region.name, best.get(number), v4.get(number), v6.get(number))
        for number, region in regions.items()
    ]
    found.sort(key=lambda region: (region.latency is None, region.latency or 0.0, region.region))
    return NetcheckReport(
        udp=report.udp,
        ipv4=report.ipv4,
        ipv6=report.ipv6,
        address_v4=text(report.global_v4),
        address_v6=text(report.global_v6),
        hard_nat=report.mapping_varies_by_dest_ip,
        captive_portal=report.captive_portal,
        upnp=report.upnp,
        pmp=report.pmp,
        pcp=report.pcp,
        preferred_region=report.preferred_region,
        endpoints=tuple(join_host_port(*address) for address in done.endpoints),
        regions=tuple(found),
    )
