from __future__ import annotations

import inspect
import socket

import anyio.abc
import pytest
from anyio.abc import SocketAttribute

import tsnet
from tsnet.protocols import Acceptor, ByteStream, Dialer, StreamListener, Whois, family_of


@pytest.mark.parametrize(
    ("host", "family"),
    [("100.64.0.1", socket.AF_INET), ("fd7a:115c:a1e0::1", socket.AF_INET6), ("::1", socket.AF_INET6)],
)
def test_the_family_of_an_address(host: str, family: socket.AddressFamily) -> None:
    assert family_of((host, 80)) == family


def test_ours_are_anyios() -> None:
    assert issubclass(tsnet.Stream, ByteStream)
    assert issubclass(ByteStream, anyio.abc.ByteStream)
    assert issubclass(tsnet.Listener, StreamListener)
    assert issubclass(StreamListener, anyio.abc.Listener)


@pytest.mark.parametrize(("protocol", "verb"), [(Dialer, "dial"), (Acceptor, "listen"), (Whois, "whois")])
def test_a_node_has_the_verbs_with_parameters_of_those_names(protocol: type, verb: str) -> None:
    wanted = inspect.signature(getattr(protocol, verb)).parameters
    found = inspect.signature(getattr(tsnet.AsyncServer, verb)).parameters
    assert list(found)[: len(wanted)] == list(wanted)


def test_the_attributes_that_anyio_asks_for() -> None:
    class Addressed:
        local_address, remote_address = ("100.64.0.1", 80), ("100.64.0.2", 40_000)

    attributes = ByteStream.extra_attributes.fget(Addressed())  # type: ignore[attr-defined]
    assert {name: attributes[name]() for name in attributes} == {
        SocketAttribute.family: socket.AF_INET,
        SocketAttribute.local_address: ("100.64.0.1", 80),
        SocketAttribute.local_port: 80,
        SocketAttribute.remote_address: ("100.64.0.2", 40_000),
        SocketAttribute.remote_port: 40_000,
    }
