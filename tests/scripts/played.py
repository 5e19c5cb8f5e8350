"""Short timelines for the interpreter's own tests: a connection that stands, and what happens to it then."""

from __future__ import annotations

from tests.scripts.runner import Verdict, judge

ESTABLISHED = """
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 8) = 0
+0 < S 0:0(0) win 65535 <mss 1000>
+0 > S. 0:0(0) ack 1 <...>
+.01 < . 1:1(0) ack 1 win 65535
+0 accept(3, ..., ...) = 4
"""


def play(text: str, *, strict: bool = True) -> Verdict:
    return judge(text, strict=strict)


def established(text: str, *, strict: bool = True) -> Verdict:
    """Descriptor 4 is a connection whose peer takes segments of 1000 bytes."""
    return play(ESTABLISHED + text, strict=strict)


def passes(text: str) -> None:
    verdict = established(text)
    assert verdict.outcome == "passed", verdict


def fails(text: str, why: str) -> None:
    verdict = established(text)
    assert verdict.outcome == "failed", verdict
    assert why in verdict.reason, verdict
