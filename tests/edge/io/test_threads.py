"""A thread that starts, one that cannot, and one whose start is interrupted."""

from __future__ import annotations

import threading

import pytest

from tsnet.edge.io.threads import start_thread
from tsnet.errors import NotUp


def test_it_runs() -> None:
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)
    start_thread(thread, "a test")
    assert ran.wait(5)
    thread.join()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_one_that_cannot_start_is_told_with_its_purpose(error: Exception) -> None:
    class Refused(threading.Thread):
        def start(self) -> None:
            raise error

    with pytest.raises(NotUp, match=r"no thread can be started for a test: .*; end other threads, or raise the limit"):
        start_thread(Refused(), "a test")


def test_an_interrupt_that_python_has_hidden_comes_out() -> None:
    class Interrupted(threading.Thread):
        def start(self) -> None:
            try:
                raise KeyboardInterrupt
            finally:
                threading.Lock().release()  # as a condition does whose lock was not taken again

    with pytest.raises(KeyboardInterrupt):
        start_thread(Interrupted(), "a test")
