from __future__ import annotations

import itertools

import pytest

from tests.netmap.test_names import DB, SHARED, SHOP, node
from tsnet.netmap.model import NetMap
from tsnet.netmap.names import Names
from tsnet.netmap.nearnames import NEAR_MOST, is_a_slip_away, namesakes, near_names

NETMAP = NetMap(SHOP, peers={2: DB, 3: SHARED, 4: node(4, "staging.other.example")})
NAMES = Names(NETMAP)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("staging", ("staging.other.example",)),
        ("Shopp", ("shop",)),
        ("hsop", ("shop",)),
        ("db.third.example", ("db", "db.other.example")),
        ("dbs", ("db", "db.other.example")),
        ("nobody", ()),
        ("", ()),
    ],
)
def test_what_is_near(name: str, near: tuple[str, ...]) -> None:
    assert near_names(name, NETMAP, NAMES) == near


def test_namesakes_of_other_tailnets() -> None:
    assert namesakes("db", NETMAP, NAMES) == ("db", "db.other.example")
    assert namesakes("shop", NETMAP, NAMES) == ("shop",)


def test_of_very_many_a_few_are_given() -> None:
    peers = {number: node(number, f"web{number}.tail1.example") for number in range(2, 12)}
    netmap = NetMap(SHOP, peers=peers)
    assert len(near_names("web", netmap, Names(netmap))) == NEAR_MOST


def edits(word: str) -> set[str]:
    """The slow obvious twin: all that one slip makes of a word."""
    letters = "abc"
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    less = {a + b[1:] for a, b in splits if b}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}
    wrong = {a + letter + b[1:] for a, b in splits if b for letter in letters}
    more = {a + letter + b for a, b in splits for letter in letters}
    return (less | swapped | wrong | more) - {word}


def test_a_slip_is_what_one_edit_makes() -> None:
    words = ["".join(each) for size in (2, 3, 4) for each in itertools.product("abc", repeat=size)]
    for one in words:
        assert {other for other in words if is_a_slip_away(one, other)} == edits(one) & set(words)
