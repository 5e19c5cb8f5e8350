"""What is made of the answers, and what control is told of it."""

from __future__ import annotations

from tests.netcheck.regions import OURS, OURS_V6
from tsnet.base.addresses import UdpAddress
from tsnet.netcheck.report import Draft, Report, net_info

OTHER = UdpAddress(OURS.host, 1)


def test_a_draft_without_an_answer() -> None:
    draft = Draft(os_has_ipv6=True)
    assert draft.whole(5.0, 0, is_full=True) == Report(5.0, True, os_has_ipv6=True)
    assert draft.would_help(1, 4)
    assert draft.would_help(1, 6)


def test_answers_over_both_families() -> None:
    draft = Draft(os_has_ipv6=True)
    draft.over_udp(1, 4, 0.020, OURS)
    draft.over_udp(1, 6, 0.015, OURS_V6)
    draft.over_udp(2, 4, 0.050, OTHER)
    draft.over_udp(2, 4, 0.060, OTHER)
    report = draft.whole(5.0, 2, is_full=False)
    assert report == Report(
        5.0,
        False,
        udp=True,
        ipv4=True,
        ipv6=True,
        os_has_ipv6=True,
        mapping_varies_by_dest_ip=True,
        preferred_region=2,
        region_latency={1: 0.015, 2: 0.050},
        region_latency_v4={1: 0.020, 2: 0.050},
        region_latency_v6={1: 0.015},
        global_v4=OURS,
        global_v6=OURS_V6,
    )
    assert report.latencies == ({1: 0.015, 2: 0.050}, {1: 0.020, 2: 0.050}, {1: 0.015})


def test_what_would_tell_something_new() -> None:
    draft = Draft(os_has_ipv6=False)
    draft.over_udp(1, 4, 0.020, OURS)
    assert draft.would_help(1, 4), "one answer says nothing about the NAT"
    assert draft.would_help(1, 6)
    assert draft.would_help(2, 4)
    draft.over_udp(2, 4, 0.020, OURS)
    assert not draft.would_help(1, 4)
    assert draft.would_help(3, 4)
    draft.over_udp(2, 6, 0.020, OURS_V6)
    assert not draft.would_help(1, 6)


def test_https_gives_latencies_and_nothing_else() -> None:
    draft = Draft(os_has_ipv6=False)
    draft.over_https(1, 0.040)
    assert not draft.udp
    report = draft.whole(0.0, 1, is_full=True)
    assert (report.region_latency, report.region_latency_v4, report.ipv4) == ({1: 0.040}, {}, False)


def test_net_info_names_all_that_go_tells() -> None:
    draft = Draft(os_has_ipv6=True)
    draft.over_udp(1, 4, 0.020, OURS)
    draft.over_udp(2, 4, 0.050, OURS)
    draft.over_udp(2, 6, 0.055, OURS_V6)
    assert net_info(draft.whole(0.0, 1, is_full=True), port_mapped=True) == {
        "MappingVariesByDestIP": False,
        "WorkingIPv6": True,
        "OSHasIPv6": True,
        "WorkingUDP": True,
        "WorkingICMPv4": False,
        "HavePortMap": True,
        "DERPLatency": {"1-v4": 0.020, "2-v4": 0.050, "2-v6": 0.055},
    }
    nothing = net_info(Report(0.0, True))
    assert nothing == {"WorkingIPv6": False, "OSHasIPv6": False, "WorkingUDP": False, "WorkingICMPv4": False}
    assert net_info(Report(0.0, True, upnp=True, pmp=False, pcp=False)).items() >= {
        ("UPnP", True), ("PMP", False), ("PCP", False),
    }  # fmt: skip
