"""What a forked child closes. With a lock and a claim: test_lock, test_claim."""

from __future__ import annotations

import gc
import os

import pytest

from tsnet.edge.io import forked
from tsnet.edge.io.forked import OPENING, watch


class Held:
    orphaned = False

    def orphan(self) -> None:
        self.orphaned = True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_is_told_and_the_parent_is_not() -> None:
    held = Held()
    watch(held)
    watch(held)
    child = os.fork()
    if child == 0:
        os._exit(0 if held.orphaned and OPENING.acquire(blocking=False) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not held.orphaned
    assert OPENING.acquire(blocking=False)
    OPENING.release()


def test_nothing_is_kept_alive() -> None:
    held = Held()
    watch(held)
    count = len(forked._watched)
    del held
    gc.collect()
    assert len(forked._watched) < count
