"""`tsnet netcheck`: the network around this machine; two tables, or --json."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence

import attrs

from tsnet.base.printable import printable
from tsnet.cli.joining import joined
from tsnet.netreport import NetcheckReport, RegionLatency

WORDS: dict[bool | None, str] = {True: "yes", False: "no", None: "unknown"}


def run(options: Namespace) -> int:
    with joined(options, passing=True) as node:
        report = node.netcheck()
    print(json.dumps(attrs.asdict(report), indent=2) if options.json else table(report))
    return 0


def table(report: NetcheckReport) -> str:
    """What was found, one thing a line; below, the regions, the nearest first."""
    near = next((region for region in report.regions if region.region == report.preferred_region), None)
    found = [
        ("UDP", WORDS[report.udp]),
        ("IPv4", report.address_v4 or WORDS[report.ipv4]),
        ("IPv6", report.address_v6 or WORDS[report.ipv6]),
        ("Hard NAT", WORDS[report.hard_nat]),
        ("Captive portal", WORDS[report.captive_portal]),
        ("Port mapping", _port_mapping(report)),
        ("Preferred region", "none" if near is None else _named(near)),
        ("Endpoints", " ".join(report.endpoints) or "none"),
    ]
    return "\n".join([*_columns(found), "", *_columns([HEAD, *map(_row, report.regions)])])


HEAD = ("Region", "Code", "Latency", "IPv4", "IPv6", "Name")


def _row(region: RegionLatency) -> tuple[str, ...]:
    latencies = (region.latency, region.latency_v4, region.latency_v6)
    return (str(region.region), printable(region.code), *map(_milliseconds, latencies), printable(region.name))


def _milliseconds(latency: float | None) -> str:
    return "-" if latency is None else f"{latency * 1000:.1f} ms"


def _named(region: RegionLatency) -> str:
    return printable(
        f"{region.region} ({region.name or region.code})" if region.name or region.code else f"{region.region}"
    )


def _port_mapping(report: NetcheckReport) -> str:
    asked = {"UPnP": report.upnp, "NAT-PMP": report.pmp, "PCP": report.pcp}
    if all(answer is None for answer in asked.values()):
        return WORDS[None]
    return ", ".join(name for name, answer in asked.items() if answer) or "none"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
