from __future__ import annotations

import json

import attrs
import pytest

import tsnet
from tsnet.cli import main
from tsnet.cli.netcheck import table
from tsnet.netreport import NetcheckReport, RegionLatency

REPORT = NetcheckReport(
    udp=True,
    ipv4=True,
    ipv6=False,
    address_v4="203.0.113.5:41641",
    address_v6=None,
    hard_nat=False,
    captive_portal=None,
    upnp=False,
    pmp=True,
    pcp=True,
    preferred_region=2,
    endpoints=("203.0.113.5:41641", "10.0.0.7:41641"),
    regions=(
        RegionLatency(2, "fra", "Frankfurt", 0.0042, 0.0042, None),
        RegionLatency(10, "sfo", "San Francisco\x1b[31m", None, None, None),
    ),
)

TABLE = """\
UDP               yes
IPv4              203.0.113.5:41641
IPv6              no
Hard NAT          no
Captive portal    unknown
Port mapping      NAT-PMP, PCP
Preferred region  2 (Frankfurt)
Endpoints         203.0.113.5:41641 10.0.0.7:41641

Region  Code  Latency  IPv4    IPv6  Name
2       fra   4.2 ms   4.2 ms  -     Frankfurt
10      sfo   -        -       -     San Francisco"""


def test_the_tables() -> None:
    shown = table(REPORT)
    assert "\x1b" not in shown
    assert shown.partition("\\x1b")[0] == TABLE


def test_a_report_that_knows_nothing() -> None:
    nothing = attrs.evolve(
        REPORT, udp=False, ipv4=False, address_v4=None, hard_nat=None, upnp=None, pmp=None, pcp=None,
        preferred_region=0, endpoints=(), regions=(),
    )  # fmt: skip
    shown = dict(line.split("  ", 1) for line in table(nothing).splitlines()[:8])
    assert {name: value.strip() for name, value in shown.items()} == {
        "UDP": "no",
        "IPv4": "no",
        "IPv6": "no",
        "Hard NAT": "unknown",
        "Captive portal": "unknown",
        "Port mapping": "unknown",
        "Preferred region": "none",
        "Endpoints": "none",
    }


def test_a_node_looks_at_its_network(shop: tsnet.Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["netcheck"]) == 0
    assert "\nPreferred region  900" in capsys.readouterr().out
    assert main(["netcheck", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["udp"]
    assert report["regions"][0]["region"] == report["preferred_region"] == 900
