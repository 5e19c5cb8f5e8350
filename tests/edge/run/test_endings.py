from __future__ import annotations

import pytest

from tsnet.edge.run.endings import end_all


def test_every_step_is_taken_whatever_another_one_raises(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[str] = []

    def broken() -> None:
        raise ValueError("a bug")

    def worse() -> None:
        raise SystemExit

    end_all("a node", [lambda: taken.append("first"), broken, worse, lambda: taken.append("last")])
    assert taken == ["first", "last"]
    assert [record.getMessage() for record in caplog.records] == [
        "a node could not be ended in order; please report it"
    ] * 2
