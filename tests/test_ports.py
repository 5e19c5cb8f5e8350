from __future__ import annotations

import contextlib
import socket

import pytest

from tests import ports
from tests.ports import HIGHEST, LOWEST, OwnPort


def test_each_has_its_own_and_may_bind_it_again_and_again() -> None:
    with contextlib.closing(OwnPort()) as one, contextlib.closing(OwnPort()) as two:
        assert one.number != two.number
        for number in (one.number, two.number, one.number):
            assert LOWEST <= number < HIGHEST
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as sock:
                    sock.bind(("0.0.0.0", number))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_number_that_a_stranger_has_is_not_free(kind: socket.SocketKind) -> None:
    with contextlib.closing(OwnPort()) as port:
        with socket.socket(socket.AF_INET, kind) as stranger:
            stranger.bind(("127.0.0.1", port.number))
            assert not ports._is_free(port.number)
        assert ports._is_free(port.number)
