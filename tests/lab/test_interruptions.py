"""Our node's stream to a Go node goes on within ten seconds, whatever happens to the path, and loses no byte."""

from __future__ import annotations

import pytest

from tests.lab.conftest import BuildHomes
from tests.lab.interruptions import FAULTS, ride

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

WITHIN = 10.0
LATER = 5.0
"""Seconds of silence after the fault has ended: the path changes once more, without loss as a rule."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_goes_on(homes: BuildHomes, fault: str) -> None:
    found = ride(homes.settle("easy", "easy", ("ours", "go")), fault)
    print(found)
    assert found.begun < WITHIN
    assert found.over < LATER
    assert found.direct_again is not None
