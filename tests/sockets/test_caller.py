from __future__ import annotations

import socket
import sys

import pytest

from tsnet.sockets.caller import UNKNOWN, Caller, caller_of, farewell_name, is_farewell, name_of

V4 = Caller(("100.64.0.1", 80), ("100.127.255.254", 65_535))
V6 = Caller(
    ("fd7a:115c:a1e0:ab12:4843:cd96:6258:b240", 65_535),
    ("fd7a:115c:a1e0:ab12:4843:cd96:6258:b241", 65_534),
)
LONG = "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/tsnet-0123456789abcdef"


@pytest.mark.parametrize("directory", [None, "/tmp/tsnet-0123456789abcdef"])
def test_a_name_tells_both_addresses(directory: str | None) -> None:
    name = name_of(V4, directory)
    assert caller_of(name) == V4
    assert not is_farewell(name)
    assert name != name_of(V4, directory)


def test_the_longest_addresses_fit_into_an_abstract_name() -> None:
    name = name_of(V6)
    assert len(name.encode()) <= 107
    assert caller_of(name.encode()) == V6


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_the_kernel_takes_such_a_name() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(name_of(V6))
        assert caller_of(sock.getsockname()) == V6


def test_a_path_that_would_be_too_long_tells_nothing() -> None:
    name = name_of(V6, LONG)
    assert len(name) <= 103
    assert caller_of(name) == UNKNOWN
    assert not is_farewell(name)


@pytest.mark.parametrize("directory", [None, LONG])
def test_a_farewell_is_nobody(directory: str | None) -> None:
    name = farewell_name(directory)
    assert is_farewell(name)
    assert is_farewell(name.encode())
    assert caller_of(name) == UNKNOWN
    assert name != farewell_name(directory)


@pytest.mark.parametrize("name", ["", b"", "\0tsnet/", b"\0\xff\xfe", "\0tsnet/a/b/c/d/e", "/run/x.sock", "\0other/a"])
def test_any_other_name_is_unknown(name: str | bytes) -> None:
    assert caller_of(name) == UNKNOWN
    assert not is_farewell(name)
