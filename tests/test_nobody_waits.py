"""Whatever goes wrong between a public call and its answer, the call ends, the next one works, nothing stays taken.

In `make test` a few moments of each call; in `.ci/run` every place that it passes, the first time and the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import Kind
from tests.waits import VERBS, Moment, Scene, Side

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <tsnet:ResourceWarning")
"""An interrupt that comes right after the answer drops it, as any socket is dropped then."""

ERRORS: dict[tuple[Side, Kind], Callable[[], BaseException]] = {
    ("node", "fault"): lambda: RuntimeError("injected"),
    ("caller", "fault"): lambda: RuntimeError("injected"),
    ("caller", "interrupt"): KeyboardInterrupt,
}
STARTS = {"up": 4, "reachable": 3, "close": 5, "ping": 6, "dial": 8}
"""How many moments of the calls that take longest are tried in `make test`; of the others 12."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("node"))
    yield scene
    scene.close()


@pytest.fixture
def own_scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def first_and_last(moments: list[Moment]) -> list[Moment]:
    """Of each place: turns are many, and alike."""
    last = dict(moments)
    return [moment for moment in moments if moment[1] in (1, last[moment[0]])]


def spread(moments: list[Moment], count: int) -> list[Moment]:
    """That many of the different places, from first to last."""
    firsts = [moment for moment in moments if moment[1] == 1]
    return [firsts[number * (len(firsts) - 1) // (count - 1)] for number in range(count)]


def play(scene: Scene, verb: str, side: Side, kind: Kind, moments: list[Moment]) -> int:
    """Every one of them; returns how many came out of the call."""
    raised = 0
    for moment in moments:
        error = ERRORS[side, kind]()
        try:
            seen = scene.play(verb, side, kind, moment, error)
        except AssertionError as failure:
            raise AssertionError(f"{error!r} at {moment}: {failure}") from failure
        raised += seen is error
        if kind == "interrupt":
            assert seen is error or seen is None, f"the interrupt at {moment} came out as {seen!r}"
    return raised


@pytest.mark.parametrize(("side", "kind"), list(ERRORS))
@pytest.mark.parametrize("verb", list(VERBS))
def test_a_call_ends_whatever_goes_wrong(scene: Scene, verb: str, side: Side, kind: Kind) -> None:
    moments = spread(scene.rehearse(verb, side, kind), STARTS.get(verb, 12))
    raised = play(scene, verb, side, kind, moments)
    if kind == "interrupt":
        assert raised >= len(moments) - 1  # one may be gone: two runs differ in which thread comes first


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", list(VERBS))
def test_a_call_ends_at_whatever_moment(own_scene: Scene, verb: str) -> None:
    for side, kind in ERRORS:
        play(own_scene, verb, side, kind, first_and_last(own_scene.rehearse(verb, side, kind)))


@pytest.mark.slow
@pytest.mark.parametrize("verb", list(VERBS))
def test_a_call_ends_when_its_thread_dies(own_scene: Scene, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ERRORS, ("node", "fault"), lambda: SystemExit("injected"))
    play(own_scene, verb, "node", "fault", spread(own_scene.rehearse(verb, "node", "fault"), 40))
