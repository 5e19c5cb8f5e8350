from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import attrs
import pytest

from tsnet.base.compact import column, compact


def halved(number: int) -> int:
    return number // 2


@compact
class Told:
    """What somebody was told."""

    text: str
    raw_half: int = attrs.field(default=0, alias="half", converter=halved)
    more: tuple[str, ...] = ()

    @property
    def half(self) -> str:
        return f"<{self.raw_half}>"


@compact
class Other:
    text: str
    half: int = 0
    more: tuple[str, ...] = ()


def test_fields_are_read_as_they_are_kept_and_given_by_their_alias() -> None:
    told = Told("a", half=8)
    assert (told.text, told.raw_half, told.half, told.more) == ("a", 4, "<4>", ())
    assert Told("a", 8, ("b",)) == Told(more=("b",), half=8, text="a")
    assert Told.__doc__ == "What somebody was told."
    with pytest.raises(TypeError):
        Told()  # type: ignore[call-arg]


def test_equality_is_that_of_the_fields_and_of_the_class() -> None:
    assert Told("a", 8) == Told("a", 9)
    assert Told("a", 8) != Told("a", 6)
    others: list[object] = [Other("a"), ("a", 0, ())]
    assert Told("a") not in others
    assert len({Told("a"), Told("a"), *others}) == 3


def test_it_is_shown_as_it_is_given() -> None:
    assert repr(Told("a", 8)) == "Told(text='a', half='<4>', more=())"


def test_nothing_of_it_changes() -> None:
    told = Told("a")
    for name in ("text", "half", "another"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(told, name, "b")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del told.text
    assert not hasattr(told, "__dict__")


def test_it_is_an_attrs_class() -> None:
    assert [field.name for field in attrs.fields(Told)] == ["text", "raw_half", "more"]
    assert attrs.evolve(Told("a", 8), half=4) == Told("a", 4)
    assert attrs.asdict(Other("a", 1)) == {"text": "a", "half": 1, "more": ()}
    match Other("a", 1):
        case Other(text, half):
            assert (text, half) == ("a", 1)


def test_it_can_be_copied_and_pickled() -> None:
    other = Other("a", 1, ("b",))
    for made in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert made == other


def test_a_field_of_many_is_read_as_that_of_each() -> None:
    values = [Other(str(number), number) for number in range(9)]
    assert list(column(Other, "half")(values)) == [other.half for other in values]
    with pytest.raises(ValueError, match="not in list"):
        column(Other, "another")


def seen(values: list[Any]) -> int:
    """How many objects the collector looks at because of these."""
    gc.collect()
    gc.collect()  # a tuple in a tuple is passed over first
    known = {id(found) for found in gc.get_objects()}
    inside = [part for value in values for part in gc.get_referents(value)]
    deeper = [part for one in inside if isinstance(one, tuple) for part in one]
    return sum(id(found) in known for found in (*values, *inside, *deeper) if not isinstance(found, type))


def test_the_collector_sees_one_object_of_each() -> None:
    values = [Other(f"text {number}", number << 20, (f"a{number}", f"b{number}")) for number in range(50)]
    assert seen(values) == 50
