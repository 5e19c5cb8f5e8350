"""The stack against Linux's CUBIC on bad links: the streams are whole, whatever was lost, doubled or late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import against_linux
from tests.lab.cases import DEADLINE, Case, SideBySide, chosen, matrix
from tests.lab.verdict import check
from tests.netstack import tun

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(tun.why_not() is not None, reason=str(tun.why_not())),
    pytest.mark.timeout(DEADLINE * 2),
]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[SideBySide]:
    """All cases that were chosen, side by side from the first one's start."""
    side_by_side = SideBySide(against_linux.transfer, chosen(request))
    yield side_by_side
    side_by_side.close()


@pytest.mark.parametrize("case", matrix(), ids=str)
def test_the_stream_is_whole(running: SideBySide, case: Case) -> None:
    check(case, running.outcome(case))
