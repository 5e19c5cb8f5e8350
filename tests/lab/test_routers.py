"""Each kind of router is what its row says: the kernel is asked the questions of RFC 5780."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Build
from tests.lab.questions import Answers, ask
from tests.lab.routers import KINDS, Kind, can_be_direct

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_a_kind_is_what_it_says(internet: Build, kind: Kind) -> None:
    scene = internet(kind.name, second_hosts=True)
    answers = ask(scene, scene.left)
    assert answers == Answers(kind.mapping, kind.filtering, kind.keeps_port, kind.hairpin, kind.mapping)


def test_both_homes_may_be_of_one_kind(internet: Build) -> None:
    scene = internet("hard", "hard")
    for side in scene.sides:
        assert ask(scene, side).mapping == "by address and port"


def test_what_is_possible_does_not_depend_on_the_order() -> None:
    assert can_be_direct("easy", "easy")
    assert not can_be_direct("hard", "hard")
    assert not can_be_direct("v6", "easy")
    for left in KINDS:
        for right in KINDS:
            assert can_be_direct(left, right) == can_be_direct(right, left)
