from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from tsnet.cli.signals import Terminated, insisting, raising_terminated, undisturbed

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


class Callback:
    """Its end is a place where Python drops whatever is raised."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


def drop_and_wait(number: int) -> None:
    Callback(number)
    threading.Event().wait(10)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated), (signal.SIGHUP, Terminated)]
)
def test_one_that_python_drops_comes_again(number: int, error: type[BaseException]) -> None:
    with pytest.raises(error), insisting(), raising_terminated():
        drop_and_wait(number)


def test_other_errors_that_python_drops_are_printed_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError("of a callback")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", sys.__unraisablehook__)
        with insisting():
            Failing()
    assert "ValueError: of a callback" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_hook_is_there_only_meanwhile() -> None:
    before = sys.unraisablehook
    with insisting():
        assert sys.unraisablehook is not before
    assert sys.unraisablehook is before
