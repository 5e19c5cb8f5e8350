"""The side that the script plays."""

from __future__ import annotations

from tests.scripts.played import ESTABLISHED, established, fails, passes, play

SYN = """+0 < 9 > 8080: S {0}:{0}(0) win 65535 <mss 1000>
+0 > S. 0:0(0) ack {1} <...>
+0 < . {1}:{1}(0) ack 1 win 65535
"""


def test_a_syn_from_other_ports_is_a_conversation_of_its_own() -> None:
    passes(SYN.format(7, 8) + "+0 accept(3, ..., ...) = 5\n+0 write(5, ..., 10) = 10\n+0 > P. 1:11(10) ack 8")


def test_the_first_syn_to_a_new_listener_is_one_too() -> None:
    again = "+0 close(4) = 0\n+0 > F. 1:1(0) ack 1\n+0 close(3) = 0\n" + ESTABLISHED.replace("0 socket", "+0 socket", 1)
    passes(again)


def test_any_other_syn_is_a_segment_of_the_conversation() -> None:
    """RFC 5961 4.2: an established connection answers it with a challenge acknowledgement."""
    passes("+.1 < S 1:1(0) win 9\n+0 > . 1:1(0) ack 1")


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


def test_data_may_be_acknowledged_sooner_and_more_often() -> None:
    """Linux delays the acknowledgement of a FIN, and does not answer data that more follows at once."""
    late = "+.1 < F. 1:1(0) ack 1 win 9\n+.04 > . 1:1(0) ack 2\n"
    verdict = established(late, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("prompt",))
    fails(late, "was sent at 0.11")
    rarely = "+.1 < P. 1:1001(1000) ack 1 win 9\n+0 < P. 1001:2001(1000) ack 1 win 9\n+0 > . 1:1(0) ack 2001\n"
    verdict = established(rarely, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("prompt",))
    fails(rarely, "ack 1001")


def test_what_is_no_news_is_not_passed_over() -> None:
    twice = "+.1 < P. 2:3(1) ack 1 win 9\n+0 > . 1:1(0) ack 1\n+0 < P. 4:5(1) ack 1 win 9\n+0 > P. 1:2(1) ack 1"
    verdict = established(twice, strict=False)
    assert verdict.outcome == "failed"


def test_what_is_cut_may_be_acknowledged_in_parts() -> None:
    text = "--mss=500\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 listen(3, 8) = 0\n" + SYN.format(0, 1)
    text = text.replace("<mss 1000>", "<mss 1000,sackOK,nop,nop>")
    text += (
        "+0 accept(3, ..., ...) = 4\n+0 < P. 1001:3001(2000) ack 1 win 9\n+0 > . 1:1(0) ack 1 <nop,nop,sack 1001:3001>"
    )
    verdict = play(text, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("parts",))
    assert "sack 1001:2001" in play(text).reason
