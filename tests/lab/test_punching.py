"""Which homes can be joined without a relay is what the kernel says, and `can_be_direct` repeats.

The five by five of `GRID`, and some pairs with a provider's router, without UDP, and of IPv6 alone.
"""

from __future__ import annotations

import pytest

from tests.lab.conftest import Build
from tests.lab.punching import ROUNDS, punch, show
from tests.lab.routers import GRID, can_be_direct

pytestmark = pytest.mark.interop

HEAD_START = 1  # rounds

PAIRS = [(left, right) for left in GRID for right in GRID]
OTHERS = [
    ("cgnat", "easy"),
    ("cgnat", "cgnat"),
    ("cgnat", "hard"),
    ("cgnat", "stray"),
    ("cgnat-hard", "easy"),
    ("cgnat-hard", "restricted"),
    ("cgnat-hard", "fullcone"),
    ("cgnat-hard", "cgnat-hard"),
    ("udp-blocked", "none"),
    ("none", "stray"),
    ("none", "hard"),
    ("none", "none"),
    ("v6", "v6"),
]


@pytest.mark.parametrize(("left", "right"), [pytest.param(*pair, id="-to-".join(pair)) for pair in [*PAIRS, *OTHERS]])
def test_a_pair(internet: Build, left: str, right: str) -> None:
    """Joined, whoever begins; a pair that is joined in only one of the orders is none to rely on."""
    orders = [punch(internet(left, right), late=late) for late in (HEAD_START, -HEAD_START)]
    assert (None not in orders) == can_be_direct(left, right)
    assert all(rounds is None or rounds <= ROUNDS // 2 + 1 for rounds in orders)


@pytest.mark.parametrize(("late", "joined"), [(HEAD_START, True), (-HEAD_START, False)])
def test_a_stray_ping_spoils_the_port(internet: Build, late: int, joined: bool) -> None:
    """Behind `stray`, who begins is joined. Who waits for the other's ping is not, as long as pings go on."""
    assert (punch(internet("stray", "easy"), late=late) is not None) == joined


def test_a_table_is_shown() -> None:
    assert show({("easy", "easy"): 1}, ("easy",)).split() == ["easy", "easy", "1"]
    assert show({("hard", "hard"): None}, ("hard",)).split()[-1] == "FAIL"
