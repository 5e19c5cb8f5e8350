"""The side that the script plays."""

from __future__ import annotations

from tests.scripts.played import established, fails, passes, play

SYN = "+0 < S {0}:{0}(0) win 65535 <mss 1000>\n+0 > S. 0:0(0) ack {1} <...>\n+0 < . {1}:{1}(0) ack 1 win 65535\n"


def test_every_syn_is_a_conversation_of_its_own() -> None:
    passes(SYN.format(7, 8) + "+0 accept(3, ..., ...) = 5\n+0 write(5, ..., 10) = 10\n+0 > P. 1:11(10) ack 8")


def test_a_syn_again_is_the_same_one() -> None:
    verdict = play(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 listen(3, 8) = 0\n"
        "+0 < S 0:0(0) win 9\n+0 > S. 0:0(0) ack 1 <...>\n+.7 < S 0:0(0) win 9\n+0 > S. 0:0(0) ack 1 <...>\n"
        "+0 < . 1:1(0) ack 1 win 9\n+0 accept(3, ..., ...) = 4\n"
    )
    assert verdict.outcome == "passed", verdict


def test_long_expectations_are_joined_from_segments() -> None:
    text = "+0 write(4, ..., 2500) = 2500\n+0 > P. 1:2501(2500) ack 1"
    text = text.replace("2500", "3000").replace("2501", "3001")
    verdict = established(text, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("segments",))
    fails(text, "sent . 1:1001(1000) ack 1")


def test_a_gap_ends_what_is_joined() -> None:
    text = "+0 write(4, ..., 1000) = 1000\n+0 < . 1:1(0) ack 1 win 65535\n+0 > P. 1:2001(2000) ack 1"
    verdict = established(text, strict=False)
    assert verdict.outcome == "failed"
    assert "differs in size" in verdict.reason


def test_nothing_is_noticed_as_nothing() -> None:
    fails("+0 > P. 1:2(1) ack 1", "nothing was sent until 0.014")


def test_cut_data_arrives_together() -> None:
    verdict = play(
        "--mss=500\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 listen(3, 8) = 0\n" + SYN.format(0, 1) + ""
        "+0 accept(3, ..., ...) = 4\n+0 < P. 1:2001(2000) ack 1 win 9\n+0 ioctl(4, SIOCINQ, [2000]) = 0\n"
    )
    assert verdict.outcome == "passed", verdict


def test_icmp_needs_something_to_be_about() -> None:
    assert "ICMP could be about" in play("0 < icmp unreachable").reason


def test_an_answer_to_a_bad_acknowledgement_may_be_missing() -> None:
    text = "+.1 < . 1:1(0) ack 900 win 9\n+0 < P. 1:2001(2000) ack 1 win 9\n+0 > . 1:1(0) ack 2001"
    verdict = established(text, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("challenge",))
    fails(text, "sent . 1:1(0) ack 1")
    passes("+.1 < . 1:1(0) ack 900 win 9\n+0 > . 1:1(0) ack 1")
    passes("+0 write(4, ..., 10) = 10\n+0 < . 1:1(0) ack 11 win 9\n+0 > P. 1:11(10) ack 1")
