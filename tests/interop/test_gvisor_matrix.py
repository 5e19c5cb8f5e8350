"""The stack against gVisor alone on bad links: the streams are whole, whatever was lost, doubled or late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.harness.requirements import need
from tests.lab import against_gvisor
from tests.lab.cases import DEADLINE, Case, SideBySide, chosen, matrix
from tests.lab.verdict import check

pytestmark = [pytest.mark.interop, pytest.mark.timeout(DEADLINE * 2)]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[SideBySide]:
    """All cases that were chosen, side by side from the first one's start."""
    need("gvisorpeer")
    side_by_side = SideBySide(against_gvisor.transfer, chosen(request))
    yield side_by_side
    side_by_side.close()


@pytest.mark.parametrize("case", matrix(), ids=str)
def test_the_stream_is_whole(running: SideBySide, case: Case) -> None:
    check(case, running.outcome(case))
