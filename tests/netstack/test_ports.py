"""Bindings, conflicts and free ports."""

from __future__ import annotations

import pytest

from netstack.ports import ANY, FIRST_EPHEMERAL, LAST_EPHEMERAL, Ports

A, B = b"\x64\x40\x00\x01", b"\x64\x40\x00\x02"


@pytest.mark.parametrize(
    ("first", "second", "fits"), [(ANY, ANY, False), (ANY, A, False), (A, ANY, False), (A, A, False), (A, B, True)]
)
def test_conflicts(first: bytes, second: bytes, fits: bool) -> None:
    ports: Ports[str] = Ports(b"secret")
    assert ports.bind(first, 80, "first")
    assert ports.bind(second, 80, "second") is fits
    assert ports.bind(second, 81, "elsewhere")


def test_lookup_prefers_the_address() -> None:
    ports: Ports[str] = Ports(b"secret")
    ports.bind(A, 80, "a")
    ports.bind(ANY, 81, "any")
    assert ports.lookup(A, 80) == "a"
    assert ports.lookup(B, 80) is None
    assert ports.lookup(B, 81) == "any"
    assert ports.lookup(A, 82) is None


def test_release_frees_the_port() -> None:
    ports: Ports[str] = Ports(b"secret")
    ports.bind(A, 80, "a")
    assert ports.holders() == ["a"]
    ports.release(A, 80)
    ports.release(A, 80)
    assert not ports.is_bound(80)
    assert len(ports) == 0
    assert ports.bind(ANY, 80, "any")


def test_ephemeral_ports_differ_and_stay_in_their_range() -> None:
    ports: Ports[str] = Ports(b"secret")
    found = [ports.ephemeral(b"remote", lambda port: True) for _ in range(100)]
    assert len(set(found)) == 100
    assert all(port is not None and FIRST_EPHEMERAL <= port <= LAST_EPHEMERAL for port in found)


def test_ephemeral_ports_depend_on_secret_and_remote() -> None:
    def first(secret: bytes, remote: bytes) -> int | None:
        return Ports[str](secret).ephemeral(remote, lambda port: True)

    assert len({first(b"s", b"a"), first(b"s", b"b"), first(b"t", b"a")}) == 3


def test_the_last_free_port_is_found_and_then_none() -> None:
    ports: Ports[str] = Ports(b"secret")
    assert ports.ephemeral(b"remote", lambda port: port == 50_000) == 50_000
    assert ports.ephemeral(b"remote", lambda port: False) is None
