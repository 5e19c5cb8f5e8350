"""Whether a packet is the expected one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripts.adaptations import Adaptations
from tests.scripts.match import Window, differences
from tests.scripts.script import ACK, FIN, PSH, Segment
from tests.scripts.wire import TCP, Seen

EXPECTED = Segment(False, ACK, 1, 10, 5)
SEEN = Seen(0.0, b"", b"", TCP, seq=1, ack=5, flags=ACK, size=10, window=77)


def test_the_same() -> None:
    assert differences(EXPECTED, SEEN, Adaptations(())) is None


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"flags": ACK | FIN}, "flags"),
        ({"seq": 2}, "sequence"),
        ({"size": 9}, "size"),
        ({"ack": 6}, "ack"),
        ({"options": (("nop",),)}, "options <>"),
        ({"seq": 2, "ack": 6}, "sequence, ack"),
    ],
)
def test_what_differs_is_named(change: dict[str, Any], wrong: str) -> None:
    assert differences(EXPECTED, SEEN._replace(**change), Adaptations(())) == wrong


def test_only_what_the_script_says_is_compared() -> None:
    assert differences(EXPECTED._replace(window=78), SEEN, Adaptations(())) == "window"
    assert differences(EXPECTED._replace(ecn=2), SEEN, Adaptations(())) == "ecn"
    assert differences(EXPECTED._replace(options=None), SEEN._replace(options=(("nop",),)), Adaptations(())) is None


def test_push_is_adapted_on_data_alone() -> None:
    rules = Adaptations()
    assert differences(EXPECTED, SEEN._replace(flags=ACK | PSH), rules) is None
    assert list(rules.used) == ["push"]
    bare, bare_seen = EXPECTED._replace(size=0), SEEN._replace(size=0, flags=ACK | PSH)
    assert differences(bare, bare_seen, rules) == "flags"
    assert differences(EXPECTED, SEEN._replace(flags=ACK | PSH), Adaptations(())) == "flags"


def test_stamps_count_with_a_tick_alone() -> None:
    expected = EXPECTED._replace(options=(("TS", 100, 5),))
    late = SEEN._replace(options=(("TS", 110, 5),))
    assert differences(expected, late, Adaptations(())) is None
    assert differences(expected, late, Adaptations(()), tick=0.001) is not None
    assert differences(expected, late, Adaptations(()), tick=0.001, tolerance=0.01) is None
    assert differences(expected, SEEN._replace(options=(("TS", 100, 6),)), Adaptations(())) is not None


def test_times() -> None:
    window = Window(10.0, 10.0, 0.004, 10.0)
    assert window.complain(9.996) is None
    assert window.complain(10.004) is None
    assert "expected between" in str(window.complain(10.005))
    assert Window(10.0, 11.0, 0.004, 10.0).complain(11.004) is None


def test_the_tolerance_grows_with_the_distance() -> None:
    assert Window(10.0, 10.0, 0.004, 9.0).complain(10.125) is None
    assert Window(10.0, 10.0, 0.004, 9.0).complain(10.13) is not None


def test_the_window_scale_is_ours_to_choose_and_then_windows_differ() -> None:
    expected = EXPECTED._replace(options=(("mss", 9), ("wscale", 6)))
    seen, rules = SEEN._replace(options=(("mss", 9), ("wscale", 8))), Adaptations()
    assert differences(EXPECTED._replace(window=1), SEEN, rules) == "window"
    assert differences(expected, seen, rules) is None
    assert list(rules.used) == ["scale"]
    assert differences(EXPECTED._replace(window=1), SEEN, rules) is None
    assert differences(expected, seen, Adaptations(())) == "options <mss 9,wscale 6>"
    assert differences(expected, SEEN._replace(options=(("mss", 9),)), rules) is not None


@pytest.mark.parametrize("rest", [(), ((8, 9),)])
def test_a_duplicate_may_be_reported(rest: tuple[tuple[int, int], ...]) -> None:
    """SEEN acknowledges 5."""
    nops: tuple[Any, ...] = (("nop",), ("nop",))
    expected = EXPECTED._replace(options=(*nops, ("sack", *rest)) if rest else ())
    rules = Adaptations()
    assert differences(expected, SEEN._replace(options=(*nops, ("sack", (1, 5), *rest))), rules) is None
    assert list(rules.used) == ["dsack"]
    assert differences(expected, SEEN._replace(options=(*nops, ("sack", (1, 5), *rest))), Adaptations(())) is not None
    assert differences(expected, SEEN._replace(options=(*nops, ("sack", (6, 7), *rest))), rules) is not None
