from __future__ import annotations

from typing import get_args

import attrs

from tests.control.scripted import NODE_PRIVATE
from tsnet.control.client import facts
from tsnet.errors import NodeRemoved


def test_every_fact_is_frozen_and_in_the_table() -> None:
    kinds = [kind for kind in vars(facts).values() if isinstance(kind, type) and kind.__module__ == facts.__name__]
    assert {kind for kind in kinds if kind is not facts.NodeRemoved} == set(get_args(facts.Fact))
    for kind in kinds:
        assert attrs.has(kind)
        assert f"| {kind.__name__} " in (facts.__doc__ or "")


def test_a_removed_node_is_a_problem() -> None:
    match facts.NodeRemoved(NodeRemoved("gone"), fatal=True):
        case facts.Problem(error, fatal):
            assert (str(error), fatal) == ("gone", True)
        case _:
            raise AssertionError


def test_a_rotated_key_does_not_show() -> None:
    assert "66" not in repr(facts.NodeKeyRotated(NODE_PRIVATE, None))
