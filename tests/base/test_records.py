from __future__ import annotations

import copy
import inspect
import pickle
import weakref
from typing import ClassVar

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


def test_it_is_shown_how_a_record_is_made() -> None:
    assert inspect.signature(Told) == inspect.signature(Compiled)


@record
class Base:
    kinds: ClassVar[tuple[str, ...]] = ("base",)
    number: int
    more: dict[str, int] = attrs.field(factory=dict)


@record
class Derived(Base):
    kinds: ClassVar[tuple[str, ...]] = ("derived",)
    text: str = "x"


@pytest.mark.parametrize("kind", [Base, Derived])
def test_a_class_has_its_fields_before_it_has_a_value(kind: type[Base]) -> None:
    assert [field.name for field in attrs.fields(kind)] == ["number", "more", "text"][: len(kind.__match_args__)]
    assert attrs.has(kind)
    assert vars(kind)["kinds"] == (kind.__name__.lower(),)


def test_a_record_may_add_to_another() -> None:
    assert Derived(1, {"a": 1}, "y") == attrs.evolve(Derived(1, text="y"), more={"a": 1})
    assert Derived(1) != Base(1)
    assert attrs.asdict(Derived(1)) == {"number": 1, "more": {}, "text": "x"}
    assert Base(1).more is not Base(1).more
    assert pickle.loads(pickle.dumps(Derived(1))) == Derived(1)


def test_what_is_not_given_is_missed_and_what_is_not_wanted_refused() -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="number"):
            Told()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="other"):
            Told(1, other=2)  # type: ignore[call-arg]


def test_nothing_of_it_can_be_deleted_or_added() -> None:
    told = Told(1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del told.number
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told.other = 1  # type: ignore[attr-defined]
    assert weakref.ref(told)() is told


def test_the_first_value_makes_the_method_that_makes_the_others() -> None:
    @record
    class Fresh:
        number: int

    before = Fresh.__init__
    assert Fresh(1) == Fresh(number=1)
    assert Fresh.__init__ is not before
