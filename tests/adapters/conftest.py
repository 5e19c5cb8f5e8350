"""What the adapters are tested over; one place to swap it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.adapters.loopback import ListeningPort, LoopbackTailnet
from tests.sockets.node import node_thread
from tsnet.protocols import Acceptor, Dialer, Whois
from tsnet.sockets import ListeningSocket


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
def listen_socket(tailnet: LoopbackTailnet) -> Iterator[Callable[[int], ListeningSocket]]:
    """The blocking twin's `listen(port)`."""
    with node_thread() as node:
        ports: list[ListeningPort] = []

        def listen(port: int) -> ListeningSocket:
            ports.append(ListeningPort(tailnet, node, port))
            return ports[-1].socket

        yield listen
        for port in ports:
            port.close()
