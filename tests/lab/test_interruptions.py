"""A stream goes on within ten seconds, whatever happens to the path, and loses no byte.

| who             | routers     | faults                                                     |
|-----------------|-------------|------------------------------------------------------------|
| ours to Go      | easy        | all                                                        |
| Go to ours      | easy        | some; all under TSNET_NIGHTLY=1                            |
| ours to ours    | easy        | some; all under TSNET_NIGHTLY=1                            |
| ours to each    | hard        | those that a relayed stream feels                          |
| ours to each    | IPv4 and 6  | the version of IP that the path goes by is gone            |

Between two of Go's own nodes the same takes up to 13 s (`docs/nat-grid.md`).
"""

from __future__ import annotations

import os

import pytest

from tests.lab.conftest import BuildHomes
from tests.lab.homes import Who
from tests.lab.interruptions import FAULTS, ITS_VERSION, WITHOUT_DIRECT, ride

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
SOME = tuple(FAULTS) if NIGHTLY else ("forgets both", "idle", "moves", "link")
OTHERS: list[Who] = ["go", "ours"]
WITHIN = 10.0
GO_WITHIN = 15.0
"""Seconds, where Go asks: its TCP waits twice as long after each attempt, so the next one may come as late. And where a
router has forgotten Go's connection to its relay, which Go notices when it sends something."""
LATER = 5.0
"""Seconds of silence after the fault has ended: the path changes once more, without loss as a rule."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_goes_on(homes: BuildHomes, fault: str) -> None:
    found = ride(homes.settle("easy", "easy", ("ours", "go")), fault)
    print(found)
    assert found.begun < WITHIN
    assert found.over < LATER
    assert found.direct_again is not None


@pytest.mark.parametrize("fault", SOME)
@pytest.mark.parametrize("who", [("go", "ours"), ("ours", "ours")], ids="-".join)
def test_a_stream_to_ours_goes_on(homes: BuildHomes, who: tuple[Who, Who], fault: str) -> None:
    found = ride(homes.settle("easy", "easy", who), fault)
    print(found)
    assert found.begun < (GO_WITHIN if who[0] == "go" else WITHIN)
    assert found.over < LATER
    assert found.direct_again is not None


@pytest.mark.parametrize("fault", WITHOUT_DIRECT)
@pytest.mark.parametrize("other", OTHERS)
def test_a_relayed_stream_goes_on(homes: BuildHomes, other: Who, fault: str) -> None:
    found = ride(homes.settle("hard", "hard", ("ours", other)), fault, relayed=True)
    print(found)
    assert found.begun < (GO_WITHIN if other == "go" else WITHIN)
    assert found.over < LATER


@pytest.mark.parametrize("other", OTHERS)
def test_a_stream_goes_on_by_the_other_version_of_ip(homes: BuildHomes, other: Who) -> None:
    found = ride(homes.settle("dual", "dual", ("ours", other)), ITS_VERSION)
    print(found)
    assert found.begun < WITHIN
    assert found.over < LATER
    assert found.direct_again is not None
