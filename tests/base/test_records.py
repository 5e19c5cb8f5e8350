from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from tsnet.base.records import record


@record
class Told:
    number: int
    text: str = "x"
    secret: bytes = attrs.field(default=b"hunter2", repr=False)


@record
class Other:
    number: int
    text: str = "x"
    secret: bytes = b"hunter2"


@attrs.frozen
class Compiled:
    number: int
    text: str = "x"
    secret: bytes = attrs.field(default=b"hunter2", repr=False)


@record
class Empty:
    pass


@record
class Named:
    name: str
    note: str = attrs.field(default="", eq=False)

    def __repr__(self) -> str:
        return self.name


def test_records_are_equal_if_all_their_values_are() -> None:
    assert Told(1) == Told(1)
    assert hash(Told(1)) == hash(Told(1))
    assert Told(1) != Told(2)
    assert Told(1) != Told(1, secret=b"")
    assert Empty() == Empty()


def test_another_class_is_never_equal() -> None:
    others: list[object] = [Other(1), Compiled(1), (1, "x", b"hunter2"), Empty()]
    assert Told(1) not in others
    assert len({Told(1), Told(1), *others}) == 5


def test_it_looks_as_attrs_shows_it() -> None:
    assert repr(Told(1)) == repr(Compiled(1)).replace("Compiled", "Told") == "Told(number=1, text='x')"
    assert repr(Empty()) == "Empty()"


def test_it_is_frozen_and_has_slots() -> None:
    told = Told(1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told.number = 2  # type: ignore[misc]
    assert not hasattr(told, "__dict__")


def test_it_can_be_matched_and_changed() -> None:
    match Told(1, "y"):
        case Told(number, text=text):
            assert (number, text) == (1, "y")
        case _:
            raise AssertionError
    assert attrs.evolve(Told(1), number=2) == Told(2)


def test_it_can_be_copied_and_pickled() -> None:
    assert copy.copy(Told(1)) == copy.deepcopy(Told(1)) == pickle.loads(pickle.dumps(Told(1))) == Told(1)


def test_what_a_class_says_itself_counts() -> None:
    assert repr(Named("x")) == "x"
    assert Named("x", "a") == Named("x", "b")
    assert hash(Named("x", "a")) == hash(Named("x", "b"))
