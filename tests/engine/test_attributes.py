"""Node attributes are read from our own capabilities."""

from __future__ import annotations

import attrs
import pytest

from tsnet.engine.attributes import NAMES, NodeAttributes, attributes_of


def test_none_is_set_by_itself() -> None:
    assert attributes_of(()) == NodeAttributes()
    assert not any(attrs.astuple(NodeAttributes()))


@pytest.mark.parametrize(("field", "name"), NAMES.items())
def test_each_is_set_by_its_name(field: str, name: str) -> None:
    found = attributes_of({name: (), "funnel": ()})
    assert found == NodeAttributes(**{field: True})
    assert found.names == (name,)


def test_every_field_has_a_name() -> None:
    assert NAMES.keys() == attrs.fields_dict(NodeAttributes).keys()
