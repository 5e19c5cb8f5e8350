"""What the last close does, by what the kernel knows of other copies."""

from __future__ import annotations

import os

import pytest

from tsnet.sockets import pairs
from tsnet.sockets.kernel_door import KernelDoor
from tsnet.sockets.shared import Shared

pytestmark = pytest.mark.skipif(not pairs.HAVE_UNIX, reason="needs AF_UNIX")


class Closing:
    """A listener without its two ends. heard: what the node was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.door = KernelDoor()
        self.listening = self.door.make(1)
        self.shared = Shared(self.door, lambda: self.heard.append("closed"))
        self.shared.look = lambda: self.heard.append("look")
        self.copy = self.shared.copies.add(self)


def test_the_port_is_free_first_and_then_the_node_looks() -> None:
    closing = Closing()
    closing.listening.close()
    closing.shared.copies.close(closing.copy)
    assert closing.heard == ["closed", "look"]
    assert closing.shared.closed
    closing.door.close()


def test_somebody_unseen_keeps_the_port() -> None:
    closing = Closing()
    unseen = os.dup(closing.listening.fileno())
    closing.listening.close()
    closing.shared.copies.close(closing.copy)
    assert closing.heard == ["look"]
    assert not closing.shared.closed
    os.close(unseen)
    closing.door.close()


@pytest.mark.parametrize("way", ["close", "detach"])
def test_when_the_node_is_over_nobody_is_told(way: str) -> None:
    closing = Closing()
    closing.shared.over = True
    closing.listening.close()
    getattr(closing.shared.copies, way)(closing.copy)
    assert closing.heard == []
