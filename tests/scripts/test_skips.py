"""What is not netstack's to do."""

from __future__ import annotations

import pytest

from tests.scripts.skips import FEATURES, reason_to_skip


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("0 < S 0:0(0) win 1 <mss 1000,FO abcd1234>", "TCP Fast Open"),
        ("0 setsockopt(3, SOL_TCP, TCP_FASTOPEN, [2], 4) = 0", "TCP Fast Open"),
        ("0 epoll_create(1) = 3", "epoll"),
        ("0 < SEW 0:0(0) win 1", "ECN (P2)"),
        ("0 > [ect0] . 1:1(0) ack 1", "ECN (P2)"),
        ("`sysctl -q net.ipv4.tcp_ecn=2`", "ECN (P2)"),
        ("0 sendmsg(4, ..., MSG_ZEROCOPY) = 1", "zero-copy sending"),
        ("0 write(3, NULL, 1) = -1 EFAULT", "bad pointers"),
        ("`sysctl -q net.ipv4.tcp_congestion_control=bbr`", "another congestion control"),
    ],
)
def test_features(text: str, feature: str) -> None:
    assert reason_to_skip(text) == feature
    assert feature in {name for _, name in FEATURES}


@pytest.mark.parametrize(
    "text",
    [
        "// no epoll_wait, no MSG_ZEROCOPY\n0 < S 0:0(0) win 1 <mss 1000,sackOK>",
        "/* FO */ `sysctl -q net.ipv4.tcp_ecn=0 net.ipv4.tcp_congestion_control=cubic`",
        "0 ioctl(4, SIOCINQ, [0]) = 0",
    ],
)
def test_what_is_run(text: str) -> None:
    assert reason_to_skip(text) is None
