"""Effects and events are values: equal by content, frozen, and silent about the data they carry."""

from __future__ import annotations

import attrs
import pytest

from tsnet.base.links import Close, Closed, Compute, Computed, Data, Link, Open, Opened, Received, Tls
from tsnet.base.steps import Steps

LINK = Link("derp", 1, 7)


def test_values_compare_by_content() -> None:
    assert Open(LINK, ("a", "b"), 443, Tls("a")) == Open(LINK, ("a", "b"), 443, Tls("a"))
    assert Open(LINK, ("a",), 443) != Open(Link("derp", 1, 8), ("a",), 443)
    assert len({Opened(LINK), Close(LINK), Opened(LINK)}) == 2


def test_defaults_are_the_strict_ones() -> None:
    tls = Tls("derp.example")
    assert (tls.cert_name, tls.insecure) == ("", False)
    assert Open(LINK, ("a",), 80).tls is None


def test_values_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Closed(LINK, "eof").reason = "reset"  # type: ignore[misc]


@pytest.mark.parametrize("value", [Data(LINK, b"s3cret"), Received(LINK, b"s3cret"), Computed(LINK, b"s3cret")])
def test_repr_shows_no_data(value: object) -> None:
    assert "s3cret" not in repr(value)
    assert "derp" in repr(value)


def length(data: bytes) -> Steps[int]:
    yield
    return len(data)


def test_compute_carries_a_computation_and_its_argument() -> None:
    effect = Compute(LINK, length, b"abc")
    assert Computed(effect.link, effect.run()) == Computed(LINK, 3)
