"""What an application gets of a netcheck, through both servers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import tsnet
from tests.netcheck.regions import OURS, OURS_V6, node, region
from tsnet.base.addresses import UdpAddress
from tsnet.engine.facts import NetcheckDone
from tsnet.netcheck.report import Report
from tsnet.netreport import RegionLatency, public_report
from tsnet.testing import Tailnet


def test_regions_are_in_order_of_their_latency_and_silent_ones_last() -> None:
    report = Report(
        1.0,
        True,
        udp=True,
        ipv4=True,
        ipv6=True,
        mapping_varies_by_dest_ip=True,
        preferred_region=3,
        region_latency={1: 0.050, 3: 0.010},
        region_latency_v4={1: 0.050, 3: 0.020},
        region_latency_v6={3: 0.010},
        global_v4=OURS,
        global_v6=OURS_V6,
    )
    regions = {1: region(1, code="fra", name="Frankfurt"), 2: region(2), 3: region(3, node(3))}
    shown = public_report(NetcheckDone(report, (UdpAddress("10.0.0.7", 41641), OURS_V6), regions))
    assert shown == tsnet.NetcheckReport(
        udp=True,
        ipv4=True,
        ipv6=True,
        address_v4="203.0.113.5:41641",
        address_v6="[2001:db8:9::5]:41641",
        hard_nat=True,
        captive_portal=None,
        upnp=None,
        pmp=None,
        pcp=None,
        preferred_region=3,
        endpoints=("10.0.0.7:41641", "[2001:db8:9::5]:41641"),
        regions=(
            RegionLatency(3, "", "", 0.010, 0.020, 0.010),
            RegionLatency(1, "fra", "Frankfurt", 0.050, 0.050, None),
            RegionLatency(2, "", "", None, None, None),
        ),
    )


def options(tailnet: Tailnet) -> dict[str, Any]:
    return {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, "ephemeral": True}


def checked(report: tsnet.NetcheckReport) -> None:
    assert report.udp
    assert report.ipv4
    assert report.address_v4 is not None
    assert report.address_v4.startswith("127.0.0.1:")
    assert [found.region for found in report.regions] == [report.preferred_region] == [900]
    assert report.regions[0].latency is not None
    assert report.regions[0].latency < 1
    assert report.captive_portal is None
    assert report.endpoints


def test_the_blocking_server(tailnet: Tailnet) -> None:
    with tsnet.Server("shop", **options(tailnet)) as server:
        checked(server.netcheck())
        checked(server.netcheck(timeout=None))


def test_a_server_that_has_not_begun_is_started(tailnet: Tailnet) -> None:
    server = tsnet.Server("shop", **options(tailnet))
    try:
        checked(server.netcheck())
        assert server.status().state == "running"
    finally:
        server.close()


def test_the_async_server_under_asyncio(tailnet: Tailnet) -> None:
    async def main() -> None:
        async with tsnet.AsyncServer("shop", **options(tailnet)) as server:
            checked(await server.netcheck())

    anyio.run(main)


def test_when_time_is_up_the_report_is_what_is_known(tailnet: Tailnet) -> None:
    with tsnet.Server("shop", **options(tailnet)) as server:
        report = server.netcheck(timeout=0.0)
        assert [found.region for found in report.regions] == [900]


@pytest.mark.parametrize("timeout", ["5", -1])
def test_a_time_that_is_none(tailnet: Tailnet, timeout: object) -> None:
    with tsnet.Server("shop", **options(tailnet)) as server, pytest.raises(tsnet.ConfigError):
        server.netcheck(timeout=timeout)  # type: ignore[arg-type]
