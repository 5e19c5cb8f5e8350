"""Each effect reaches its function, once. What the functions do is tested where they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Close, Compute, Data, Datagrams, Effect, Link, LookUp, Open, OpenUdp, Pause, Resume
from tsnet.edge.io.effects import EffectPort

LINK = Link("room", "name", 1)


class Listening(EffectPort):
    """Opens nothing."""

    def __init__(self) -> None:
        self.did: list[object] = []

    def _write(self, effect: Data) -> None:
        self.did.append(("write", effect))

    def _abort(self, link: Link) -> None:
        self.did.append(("abort", link))

    def _close(self, link: Link) -> None:
        self.did.append(("close", link))

    def _compute(self, effect: Compute) -> None:
        self.did.append(("compute", effect))

    def _set_paused(self, link: Link, *, paused: bool) -> None:
        self.did.append(("paused", link, paused))


def nothing(_argument: object) -> object:
    raise AssertionError


DATA, COMPUTE = Data(LINK, b"x"), Compute(LINK, nothing, None)  # type: ignore[arg-type]  # it is never run


@pytest.mark.parametrize(
    ("effect", "did"),
    [
        (DATA, [("write", DATA)]),
        (Close(LINK), [("close", LINK)]),
        (Close(LINK, abort=True), [("abort", LINK), ("close", LINK)]),
        (COMPUTE, [("compute", COMPUTE)]),
        (Pause(LINK), [("paused", LINK, True)]),
        (Resume(LINK), [("paused", LINK, False)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_effect_reaches_its_function(effect: Effect, did: list[object]) -> None:
    port = Listening()
    port.apply(effect)
    assert port.did == did


@pytest.mark.parametrize(
    "make",
    [
        lambda: Open(LINK, ("192.0.2.1",), 80),
        lambda: OpenUdp(LINK),
        lambda: Datagrams(LINK, UdpAddress("192.0.2.1", 53), [b"x"]),
        lambda: LookUp(LINK, "derp.test"),
    ],
)
def test_what_only_listens_opens_nothing(make: Callable[[], Effect]) -> None:
    port = Listening()
    with pytest.raises(ValueError, match="a listener"):
        port.apply(make())
    assert not port.did
