"""Our sockets answer as the kernel's do, or docs/sockets.md says why not. That page is what the calls answer now."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.sockets.conformance import PAGE, ROWS, Kernel, Ours, Row, ask, ours, page
from tsnet.sockets import pairs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def own() -> Iterator[Ours]:
    with ours() as own:
        yield own


answers: dict[Row, tuple[str, str]] = {}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_call_answers_as_the_kernel_s_or_for_a_reason(own: Ours, row: Row) -> None:
    kernel, mine = answers[row] = ask(row, Kernel()), ask(row, own)
    assert (kernel != mine) == bool(row.reason), f"{kernel}, but ours {mine}"


@pytest.mark.parametrize("row", [row for row in ROWS if not row.reason], ids=str)
def test_so_it_does_over_loopback_pairs(own: Ours, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "HAVE_UNIX", False)
    assert ask(row, own) == ask(row, Kernel())


def test_there_are_enough_of_each_kind() -> None:
    assert len(ROWS) >= 100
    assert len(ROWS) == len(set(ROWS))
    assert min(sum(row.kind == kind for row in ROWS) for kind in {row.kind for row in ROWS}) >= 25


def test_the_page_is_current(own: Ours) -> None:
    current = {row: answers[row] if row in answers else (ask(row, Kernel()), ask(row, own)) for row in ROWS}
    assert PAGE.read_text(encoding="utf-8") == page(current), "run python -m tests.sockets.conformance"
