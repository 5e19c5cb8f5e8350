"""What the adapters are tested over; one place to swap it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.loopback import ListeningPort, LoopbackTailnet
from tests.sockets.node import node_thread
from tsnet.protocols import Acceptor, Dialer, Whois


@pytest.fixture
def tailnet() -> LoopbackTailnet:
    return LoopbackTailnet()


@pytest.fixture
def dialer(tailnet: LoopbackTailnet) -> Dialer:
    return tailnet


@pytest.fixture
def acceptor(tailnet: LoopbackTailnet) -> Acceptor:
    return tailnet


@pytest.fixture
def whois(tailnet: LoopbackTailnet) -> Whois:
    return tailnet


@pytest.fixture
def port(tailnet: LoopbackTailnet) -> Iterator[ListeningPort]:
    """Port 80 of shop as the blocking twin's `listen(80)` returns it: `port.socket`."""
    with node_thread() as node:
        port = ListeningPort(tailnet, node, 80)
        yield port
        port.close()
