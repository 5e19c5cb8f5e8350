"""Verdicts: what passes, what fails and with which words, what is skipped."""

from __future__ import annotations

import pytest

from tests.scripts.played import established, fails, passes, play
from tests.scripts.runner import judge

SEND = "+0 write(4, ..., 100) = 100\n"


@pytest.mark.parametrize(
    ("packet", "wrong"),
    [
        ("P. 1:100(99) ack 1", "size"),
        (". 1:101(100) ack 1", "flags"),
        ("P. 2:102(100) ack 1", "sequence"),
        ("P. 1:101(100) ack 2", "ack"),
        ("P. 1:101(100) ack 1 win 1", "window"),
        ("P. 1:101(100) ack 1 <nop>", "options <nop>"),
        ("udp (100)", "sent P."),
    ],
)
def test_every_difference_counts(packet: str, wrong: str) -> None:
    fails(SEND + f"+0 > {packet}", wrong)


def test_the_right_packet_passes() -> None:
    passes(SEND + "+0 > P. 1:101(100) ack 1 win 65535")


@pytest.mark.parametrize("time", ["+0", "0.010", "*", "+0~+.1", "0~1"])
def test_times_that_fit(time: str) -> None:
    passes(SEND + f"{time} > P. 1:101(100) ack 1")


@pytest.mark.parametrize("time", ["+.1", "0.5", "+.1~+.2"])
def test_times_that_do_not(time: str) -> None:
    fails(SEND + f"{time} > P. 1:101(100) ack 1", "was sent at 0.010000, expected between")


def test_blocking_calls_return_in_their_time() -> None:
    data = "+.1 < P. 1:11(10) ack 1 win 9\n"
    passes("+0...0.1 read(4, ..., 10) = 10\n" + data)
    fails("+0...0.3 read(4, ..., 10) = 10\n" + data, "read returned at 0.110000, expected between")


def test_errors_with_two_names() -> None:
    passes("+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n+0 read(4, ..., 9) = -1 EWOULDBLOCK (operation would block)")


def test_the_next_call_waits_for_the_one_that_blocks() -> None:
    fails("+0...0.1 read(4, ..., 10) = 10\n+0 close(4) = 0\n", "never returns")


def test_events_of_the_past_are_too_late() -> None:
    fails("+1 close(4) = 0\n0.5 < . 1:1(0) ack 1 win 9", "too late")


def test_a_timers_packet_may_be_a_few_ticks_early() -> None:
    """The window's probe leaves 0.2 s after the acknowledgement that has closed it."""
    text = SEND + "+0 > P. 1:101(100) ack 1\n+0 < . 1:1(0) ack 101 win 0\n+0 write(4, ..., 10) = 10\n"
    expected = text + "+.{} > . 100:100(0) ack 1"
    latest = max(at for at in range(200, 260) if established(expected.format(at)).outcome == "passed")
    verdict = established(expected.format(latest + 5), strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("ticks",))
    assert established(expected.format(latest + 5)).outcome == "failed"
    assert established(expected.format(latest + 30), strict=False).outcome == "failed"


def test_pacing_is_forgiven_where_it_is_installed() -> None:
    fq = "+0 `tc qdisc replace dev tun0 root fq`\n" + SEND + "+.1 > P. 1:101(100) ack 1\n+0 %{ assert True }%"
    verdict = established(fq, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("pacing",))
    assert established(fq).outcome == "failed"


def test_probes_of_a_full_queue_are_not_counted() -> None:
    full = "+0 `tc qdisc add dev tun0 root pfifo limit 0`\n+1 %{ assert tcpi_probes == 6, tcpi_probes }%"
    verdict = established(full, strict=False)
    assert (verdict.outcome, verdict.adaptations) == ("passed", ("local",))
    assert established(full).outcome == "failed"


def test_what_cannot_be_translated_is_noted() -> None:
    assert established("+0 `reboot`").notes == ("not translated: reboot",)


def test_skipped_and_not_understood() -> None:
    assert play("0 epoll_create(1) = 3") == ("skipped", "epoll", (), ())
    assert play("nonsense").reason.startswith("not understood: line 1")


def test_code_needs_a_connection() -> None:
    assert "no connection yet" in play("0 %{ assert tcpi_rtt }%").reason


def test_the_script_may_name_its_version() -> None:
    text = "0 < [0:0(0)] icmp packet_too_big mtu 1300"
    assert "no segment yet" in judge(f"--ip_version=ipv6\n{text}").reason


def test_the_same_script_gives_the_same_verdict() -> None:
    assert established(SEND + "+0 > P. 1:2(1) ack 1") == established(SEND + "+0 > P. 1:2(1) ack 1")
