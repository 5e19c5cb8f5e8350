"""Whether a packet of the stack is the one that the script expects.

flags, sequence, size, acknowledgement     always
window, ECN bits                           if the script says them
options                                    all, in their order, unless `<...>`; TS val only if the script has set
                                           its tick (`--tcp_ts_tick_usecs`), within the tolerance

time       `+0`, `0`: within the tolerance, 4 ms or an eighth of the distance from the event before, if that is more;
           a range: the tolerance around it; `*`: any
"""

from __future__ import annotations

from tests.scripts.adaptations import Adaptations
from tests.scripts.flow import stamps_of
from tests.scripts.script import ACK, PSH, Option, Segment
from tests.scripts.wire import Seen, describe_options

TOLERANCE = 0.004
TOLERANCE_SHARE = 0.125
_ROUNDING = 1e-6


class Window:
    """When something may happen."""

    def __init__(self, earliest: float, latest: float, tolerance: float, since: float) -> None:
        """since: when the event before happened."""
        margin = max(tolerance, TOLERANCE_SHARE * (earliest - since)) + _ROUNDING
        self.start, self.end = earliest - margin, latest + margin

    def complain(self, at: float) -> str | None:
        if self.start <= at <= self.end:
            return None
        return f"at {at:.6f}, expected between {self.start:.6f} and {self.end:.6f}"


def differences(
    expected: Segment, seen: Seen, adaptations: Adaptations, *, tick: float = 0.0, tolerance: float = TOLERANCE
) -> str | None:
    """What is wrong with a segment (in the script's numbers), None if nothing is."""
    wrong: list[str] = []
    flags = seen.flags ^ expected.flags
    if flags == PSH and seen.size and adaptations.use("push"):
        flags = 0
    if flags:
        wrong.append("flags")
    if seen.seq != expected.seq % 2**32:
        wrong.append("sequence")
    if seen.size != expected.size:
        wrong.append("size")
    if expected.flags & ACK and seen.ack != (expected.ack or 0):
        wrong.append("ack")
    if expected.options is not None:
        expected, seen = _adapted(expected, expected.options, seen, adaptations)
    if expected.window is not None and seen.window != expected.window and "scale" not in adaptations.used:
        wrong.append("window")
    if expected.ecn is not None and seen.ecn != expected.ecn:
        wrong.append("ecn")
    if expected.options is not None and not _same_options(expected.options, seen.options, tick, tolerance):
        wrong.append(f"options <{describe_options(expected.options)}>")
    return ", ".join(wrong) or None


def _adapted(
    expected: Segment, options: tuple[Option, ...], seen: Seen, adaptations: Adaptations
) -> tuple[Segment, Seen]:
    """Both with the same window scale, and without duplicates that only one of them reports."""
    theirs, ours = _named("wscale", options), _named("wscale", seen.options)
    if theirs is not None and ours is not None and theirs != ours and adaptations.use("scale"):
        expected = expected._replace(options=tuple(ours if option == theirs else option for option in options))
    reported, bare = _named("sack", seen.options), _without_duplicates(seen.options, seen.ack)
    if (
        reported != _named("sack", options)
        and bare != seen.options
        and _without_stamps(bare) == _without_stamps(options)
    ):
        seen = seen._replace(options=bare) if adaptations.use("dsack") else seen
    return expected, seen


def _named(name: str, options: tuple[Option, ...]) -> Option | None:
    return next((option for option in options if option[0] == name), None)


def _without_duplicates(options: tuple[Option, ...], ack: int) -> tuple[Option, ...]:
    """Without a first SACK block that lies below the acknowledgement; without the option if it was the only one."""
    found = _named("sack", options)
    if found is None or found[1][1] > ack:
        return options
    at = options.index(found)
    if len(found) > 2:
        return *options[:at], ("sack", *found[2:]), *options[at + 1 :]
    return options[: at - 2] + options[at + 1 :]


def _same_options(expected: tuple[Option, ...], seen: tuple[Option, ...], tick: float, tolerance: float) -> bool:
    wanted, got = stamps_of(expected), stamps_of(seen)
    if wanted is not None and got is not None:
        apart = abs((got[0] - wanted[0] + 2**31) % 2**32 - 2**31)
        if wanted[1] != got[1] or apart * tick > tolerance + _ROUNDING:
            return False
        expected, seen = _without_stamps(expected), _without_stamps(seen)
    return expected == seen


def _without_stamps(options: tuple[Option, ...]) -> tuple[Option, ...]:
    return tuple(("TS",) if option[0] == "TS" else option for option in options)
