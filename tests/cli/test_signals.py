from __future__ import annotations

import os
import signal

import pytest

from tsnet.cli.signals import Terminated, raising_terminated, undisturbed

closed: list[int] = []


def killed_twice(number: int) -> None:
    try:
        os.kill(os.getpid(), number)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        closed.append(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_first_one_ends_further_ones_do_not_disturb(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Terminated) as end, raising_terminated():
        killed_twice(number)
    assert closed[-1] == number
    assert end.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


def test_what_was_ignored_stays_so() -> None:
    """nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising_terminated():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_disturbs_the_closing() -> None:
    with raising_terminated():
        with undisturbed():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
