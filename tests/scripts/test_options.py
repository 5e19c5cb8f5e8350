"""setsockopt and getsockopt."""

from __future__ import annotations

import pytest

from tests.scripts.played import fails, passes


@pytest.mark.parametrize(
    "text",
    [
        "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10], 4) = 0\n+0 getsockopt(4, SOL_SOCKET, SO_SNDBUF, [20], [4]) = 0",
        "+0 setsockopt(4, SOL_TCP, TCP_KEEPIDLE, [5], 4) = 0\n+0 getsockopt(4, SOL_TCP, TCP_KEEPIDLE, [5], [4]) = 0",
        "+0 getsockopt(4, SOL_TCP, TCP_KEEPCNT, [9], [4]) = 0",
        "+0 getsockopt(4, SOL_TCP, TCP_MAXSEG, [1000], [4]) = 0",
        "+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0",
        "+0 getsockopt(4, SOL_SOCKET, SO_WHATEVER, [0], [4]) = -1 ENOPROTOOPT (Protocol not available)",
        "+0 setsockopt(4, SOL_IP, IP_MTU_DISCOVER, [IP_PMTUDISC_DONT], 1) = 0",
        "+0 setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4) = 0\n+0 getsockopt(3, SOL_TCP, TCP_NODELAY, [1], [4]) = 0",
        "+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0\n+0 close(4) = 0\n+0 > R. 1:1(0) ack 1",
        "+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=0, linger=0}, 8) = 0\n+0 close(4) = 0\n+0 > F. 1:1(0) ack 1",
    ],
)
def test_options(text: str) -> None:
    passes(text)


def test_a_wrong_value_is_named() -> None:
    fails("+0 getsockopt(4, SOL_TCP, TCP_MAXSEG, [1400], [4]) = 0", "TCP_MAXSEG is 1000, expected 1400")


def test_keepalive_is_the_connections() -> None:
    passes(
        "+0 setsockopt(4, SOL_TCP, TCP_KEEPIDLE, [5], 4) = 0\n"
        "+0 setsockopt(4, SOL_SOCKET, SO_KEEPALIVE, [1], 4) = 0\n"
        "+5 > . 0:0(0) ack 1"
    )


def test_what_listens_hands_its_options_down() -> None:
    passes(
        "+0 setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4) = 0\n"
        "+0 < 9 > 8080: S 9:9(0) win 900 <mss 1000>\n+0 > S. 0:0(0) ack 10 <...>\n+0 < . 10:10(0) ack 1 win 900\n"
        "+0 accept(3, ..., ...) = 5\n+0 write(5, ..., 10) = 10\n+0 > P. 1:11(10) ack 10\n"
        "+0 write(5, ..., 10) = 10\n+0 > P. 11:21(10) ack 10\n"
    )
