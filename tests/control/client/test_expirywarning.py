from __future__ import annotations

import math

import attrs
import pytest

from tests.control.scripted import SELF
from tsnet.control.client.expirywarning import DAY, ExpiryWarning
from tsnet.control.gojson import format_time
from tsnet.netmap.model import Node

NOW = 1_800_000_000.0


def own(expires_in: float | None, created: float | None = None) -> Node:
    expiry = None if expires_in is None else NOW + expires_in
    return attrs.evolve(SELF, key_expiry=expiry, created="" if created is None else format_time(created))


def due(node: Node, warning: ExpiryWarning | None = None, now: float = NOW) -> float:
    """Seconds before the expiry, of a node that is not warned yet."""
    warning = warning or ExpiryWarning()
    assert not warning.look(node, now, is_expired=False)
    assert node.key_expiry is not None
    return node.key_expiry - warning.at


@pytest.mark.parametrize(
    ("life", "created", "before"),
    [
        (180 * DAY, NOW, DAY),
        (11 * DAY, NOW, DAY),
        (5 * DAY, NOW, DAY / 2),
        (600.0, NOW, 60.0),
        (5 * DAY, None, DAY / 2),
        (5 * DAY, NOW - 5 * DAY, DAY),  # half of its life is over
        (5 * DAY, NOW + 60, DAY / 2),  # made in the future, by another clock
    ],
)
def test_a_day_before_or_a_tenth_of_its_life(life: float, created: float | None, before: float) -> None:
    assert due(own(life, created)) == pytest.approx(before)


def test_it_warns_once_for_each_expiry() -> None:
    warning, node = ExpiryWarning(), own(100 * DAY, NOW)
    assert due(node, warning) == DAY
    at = warning.at
    assert not warning.look(node, at - 1, is_expired=False)
    assert warning.look(node, at, is_expired=False)
    assert warning.at == math.inf
    assert not warning.look(node, at + 1, is_expired=False)
    extended = own(100 * DAY + 600)
    assert not warning.look(extended, at + 1, is_expired=False)
    assert warning.look(extended, warning.at, is_expired=False)


def test_a_node_that_comes_back_within_the_last_day_is_warned_at_once() -> None:
    assert ExpiryWarning().look(own(3600, NOW - 90 * DAY), NOW, is_expired=False)


def test_what_never_expires_or_has_expired_is_no_warning() -> None:
    for node, is_expired in ((own(None), False), (own(-5), True), (own(5, NOW - DAY), True)):
        assert not ExpiryWarning().look(node, NOW, is_expired=is_expired)


def test_an_expiry_that_was_none_after_all_is_warned_of() -> None:
    """The clock was wrong, and is set right."""
    warning, node = ExpiryWarning(), own(DAY / 2, NOW - 90 * DAY)
    assert not warning.look(node, NOW + DAY, is_expired=True)
    assert warning.look(node, NOW, is_expired=False)
