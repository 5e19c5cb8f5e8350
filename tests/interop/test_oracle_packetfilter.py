"""The packet filter against Go's wgengine/filter: verdicts on sequences of packets, both directions, over changes."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

import pytest

from tests.interop.harness.oracle import Oracle, case, cases, flipped, pack
from tsnet.base.addresses import IPPrefix
from tsnet.control.tailcfg import decode_rule
from tsnet.netmap.filterrules import FilterRules
from tsnet.netmap.packetfilter import PacketFilter

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

US = {4: "100.64.0.1", 6: "fd7a:115c:a1e0::1"}
ROUTED = {4: "192.168.7.9", 6: "2001:db8:7::9"}
LOCAL = ("100.64.0.1/32", "fd7a:115c:a1e0::1/128", "192.168.7.0/24", "2001:db8:7::/64")
PEERS = {4: ("100.64.0.2", "100.64.0.3", "10.1.2.3"), 6: ("fd7a:115c:a1e0::2", "fd7a:115c:a1e0::3", "2001:db8::3")}
STRANGE = {4: ("224.0.0.1", "169.254.1.1", "169.254.169.254", "8.8.8.8"), 6: ("ff02::1", "fe80::1", "2001:db8::9")}
SETS = [
    *("*", "0.0.0.0/0", "10.0.0.0/8", "100.64.0.0/10", "100.64.0.1", "100.64.0.2", "100.64.0.2-100.64.0.9"),
    *("192.168.7.0/24", "::/0", "fd7a:115c:a1e0::/48", "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2"),
    *("fd7a:115c:a1e0::1-fd7a:115c:a1e0::4", "2001:db8:7::/64"),
]
BROKEN_SETS = ("", "100.64.0.1/10", "nobody", "1.2.3.4-1.2.3.1", "1.2.3", "100.64.0.0/33", "::1-1.2.3.4", "1.2.3.4-")
CAPABILITIES = ("cap-a", "cap-b")
PORTS = (22, 53, 80, 443)
PROTOCOLS = (1, 2, 6, 17, 47, 58, 99, 132)
FLAGS = (0x02, 0x10, 0x12, 0x11, 0x04, 0x00, 0x03)


def one_of_sets(random: Random) -> str:
    return random.choice(SETS) if random.random() < 0.95 else random.choice(BROKEN_SETS)


def rule(random: Random) -> dict[str, Any]:
    """FilterRule as control writes it."""
    sources = [
        f"cap:{random.choice(CAPABILITIES)}" if random.random() < 0.15 else one_of_sets(random)
        for _ in range(random.randint(0, 3))
    ]
    destinations = []
    for _ in range(random.randint(0, 3)):
        first = random.choice([0, *PORTS])
        last = random.choice([first, first + 1, 65535])
        destinations.append({"IP": one_of_sets(random), "Ports": {"First": first, "Last": last}})
    made: dict[str, Any] = {"SrcIPs": sources, "DstPorts": destinations}
    if random.random() < 0.5:
        made["IPProto"] = random.sample(PROTOCOLS, random.randint(1, 4))
    if random.random() < 0.2:
        grant = {"Dsts": random.sample(LOCAL, 2), "CapMap": {"app": [random.randrange(9)], "bare": None}}
        made = {"SrcIPs": sources, "CapGrant": [grant]}
    return made


def transport(random: Random, protocol: int) -> bytes:
    """A header of that protocol: few ports, so that flows and rules are met."""
    ports = random.choice(PORTS).to_bytes(2, "big") + random.choice(PORTS).to_bytes(2, "big")
    if protocol == 6:
        return ports + bytes(8) + b"\x50" + bytes([random.choice(FLAGS)]) + bytes(6)
    if protocol in (17, 132):
        return ports + bytes(8)
    if protocol in (1, 58):
        return bytes([random.choice([0, 3, 8, 11, 1, 2, 4, 128, 129, 135]), random.choice([0, 0, 0, 1])]) + bytes(6)
    return random.randbytes(random.choice([0, 4, 8, 20]))


def packet(random: Random, source: str, destination: str) -> bytes:
    """An IP packet, now and then a fragment, with options, or broken."""
    protocol = random.choice([6, 6, 6, 17, 17, 17, *PROTOCOLS, random.randrange(256)])
    payload = transport(random, protocol)
    source_raw, destination_raw = ip_address(source).packed, ip_address(destination).packed
    if len(source_raw) == 16:
        if random.random() < 0.1:  # a fragment
            offset = random.choice([0, 0, 9, 10, 200])
            payload = bytes([protocol, 0]) + (offset << 3).to_bytes(2, "big") + bytes(4) + payload
            protocol = 44
        made = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes([protocol, 64]) + source_raw + destination_raw
        made += payload
    else:
        options = bytes(random.choice([0, 0, 0, 4, 40]))
        fragment = random.choice([0] * 12 + [0x2000, 0x2001, 10, 9, 100])
        head = bytes([0x40 | (20 + len(options)) // 4, 0]) + (20 + len(options) + len(payload)).to_bytes(2, "big")
        head += b"\0\1" + fragment.to_bytes(2, "big") + bytes([64, protocol, 0, 0])
        made = head + source_raw + destination_raw + options + payload
    made += bytes(random.choice([0, 0, 0, 12]))  # WireGuard's padding
    return flipped(random, made) if random.random() < 0.05 else made


def step(random: Random) -> tuple[bool, bytes]:
    """(outbound, packet)"""
    version = random.choice([4, 6])
    ours = random.choice([US[version], US[version], US[version], ROUTED[version]])
    theirs = random.choice(PEERS[version])
    if random.random() < 0.1:
        ours = random.choice(STRANGE[version])
    if random.random() < 0.3:
        return True, packet(random, ours, theirs)
    return False, packet(random, theirs, ours)


def known_difference(raw: bytes) -> bool:
    """Where we differ on purpose: IPv4 headers that claim less than 20 bytes we refuse; and IPv4's parameter problem
    is type 12 (RFC 792), while Go's constant for it is 0x12."""
    if not raw or raw[0] >> 4 != 4:
        return False
    header = (raw[0] & 15) * 4
    return header < 20 or (len(raw) > header and raw[9] == 1 and raw[header] in (12, 0x12))


def verdicts(packet_filter: PacketFilter, steps: list[tuple[bool, bytes]]) -> list[bool]:
    found = []
    for outbound, raw in steps:
        if outbound:
            packet_filter.note_outbound([raw])
            found.append(True)
        else:
            found.append(bool(packet_filter.admit([raw])[0]))
    return found


def test_verdicts_over_sequences_and_changes(oracle: Oracle) -> None:
    local: list[IPPrefix] = [ip_network(text) for text in LOCAL]
    for seed in cases():
        with case("packet filter", seed) as random:
            by_raw: defaultdict[bytes, frozenset[str]] = defaultdict(frozenset)
            ours, share = PacketFilter(by_raw.__getitem__), 0
            for _ in range(random.randint(1, 3)):  # control changes its mind; flows stay
                rules, shields = [rule(random) for _ in range(random.randint(0, 4))], random.random() < 0.1
                capabilities = {
                    address: random.sample(CAPABILITIES, random.randint(0, 2)) for address in (*PEERS[4], *PEERS[6])
                }
                by_raw.update((ip_address(text).packed, frozenset(names)) for text, names in capabilities.items())
                compiled = FilterRules(() if shields else tuple(map(decode_rule, rules)))
                ours.replace(compiled, local, shields_up=shields)
                made = oracle.call(
                    "filter_new", rules=rules, local=LOCAL, caps=capabilities, shields=shields, share=share
                )
                share = made["filter"]
                steps = [step(random) for _ in range(20)]
                as_json = [{"out": outbound, "packet": pack(raw)} for outbound, raw in steps]
                theirs = oracle.call("filter_run", filter=share, steps=as_json)
                for mine, go, (outbound, raw) in zip(verdicts(ours, steps), theirs, steps, strict=True):
                    if not outbound and not known_difference(raw):
                        assert mine == go, f"{raw.hex()} rules={rules} caps={capabilities} ours: {ours.verdict(raw)}"
            oracle.call("filter_forget", filter=share)


def test_capabilities_that_rules_grant(oracle: Oracle) -> None:
    for seed in cases():
        with case("granted capabilities", seed) as random:
            rules = [rule(random) for _ in range(4)]
            compiled = FilterRules(tuple(map(decode_rule, rules)))
            made = oracle.call("filter_new", rules=rules, local=LOCAL)["filter"]
            for version in (4, 6):
                source, destination = random.choice(PEERS[version]), random.choice([US[version], ROUTED[version]])
                theirs = oracle.call("filter_caps", filter=made, source=source, destination=destination) or {}
                ours = compiled.capabilities(ip_address(source), ip_address(destination))
                assert {name: list(values) for name, values in ours.items()} == {
                    name: values or [] for name, values in theirs.items()
                }
            oracle.call("filter_forget", filter=made)
