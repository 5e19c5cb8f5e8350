from __future__ import annotations

import pytest

from tests.engine.alone import NOW, bare, running
from tsnet.config import LOOKS
from tsnet.engine.debug.looks import take
from tsnet.errors import Error, NotOnTailnet


@pytest.mark.parametrize("what", LOOKS)
def test_each_name_shows_something_also_before_the_first_netmap(what: str) -> None:
    for node in (bare(), running()):
        assert isinstance(take(what, node, NOW)(), dict)


def test_what_is_taken_is_of_that_moment() -> None:
    node = running()
    made = take("filter", node, NOW)
    node.engine.packet_filter.dropped["rule"] += 1
    assert made()["dropped"] == {}


def test_a_check_needs_a_node_that_is_up_and_somebody_who_is_there() -> None:
    with pytest.raises(Error):
        take("filter", bare(), NOW, ("b", ":80"))
    with pytest.raises(NotOnTailnet):
        take("filter", running(), NOW, ("nobody", ":80"))
    assert take("filter", running(), NOW, ("b", ":80"))()["check"]["port"] == 80


def test_there_is_nothing_else() -> None:
    with pytest.raises(ValueError, match="nothing called"):
        take("secrets", bare(), NOW)
