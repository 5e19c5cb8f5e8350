"""What calls on a socket return, and when they wait."""

from __future__ import annotations

import pytest

from tests.scripts.played import fails, passes, play
from tests.scripts.sockets import ERRNO, errno_of

RESET = "+0 < R. 1:1(0) ack 1 win 0\n"
FIN = "+0 < F. 1:1(0) ack 1 win 65535\n+0 > . 1:1(0) ack 2\n"
NONBLOCKING = "+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"


@pytest.mark.parametrize(
    "text",
    [
        NONBLOCKING + "+0 read(4, ..., 10) = -1 EAGAIN (Resource temporarily unavailable)",
        "+0 recv(4, ..., 10, MSG_DONTWAIT) = -1 EAGAIN (Resource temporarily unavailable)",
        FIN + "+0 read(4, ..., 10) = 0",
        "+0 shutdown(4, SHUT_RD) = 0\n+0 read(4, ..., 10) = 0",
        "+0 shutdown(4, SHUT_WR) = 0\n+0 > F. 1:1(0) ack 1\n+0 write(4, ..., 10) = -1 EPIPE (Broken pipe)",
        RESET + "+0 read(4, ..., 10) = -1 ECONNRESET (Reset)\n+0 read(4, ..., 10) = 0",
        RESET + "+0 write(4, ..., 10) = -1 ECONNRESET (Reset)\n+0 write(4, ..., 10) = -1 EPIPE (Broken pipe)",
        RESET + "+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [104], [4]) = 0\n+0 read(4, ..., 10) = 0",
        "+0 read(4, ..., 0) = 0",
        "+0 accept(4, ..., ...) = -1 EINVAL (Invalid argument)",
        "+0 read(3, ..., 10) = -1 ENOTCONN (Not connected)",
        "+0 write(3, ..., 10) = -1 EPIPE (Broken pipe)",
        "+0 shutdown(3, SHUT_WR) = -1 ENOTCONN (Not connected)",
        "+0 close(3) = 0\n+0 < 9 > 8080: S 9:9(0) win 10 <mss 1000>\n+0 > R. 0:0(0) ack 10",
    ],
)
def test_results(text: str) -> None:
    passes(text)


def test_a_write_waits_for_two_thirds_of_the_buffer() -> None:
    """20000 at most are queued: one piece of half the peer's window; 6666 of them left is where it goes on."""
    wait = "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10000], 4) = 0\n+0...0.{} write(4, ..., 40000) = 40000\n"
    acks = (
        "+.1 < . 1:1(0) ack 10001 win 65535\n+.1 < . 1:1(0) ack 26001 win 65535\n+.1 < . 1:1(0) ack 26102 win 65535\n"
    )
    passes(wait.format(3) + acks)
    fails(wait.format(2) + acks, "write returned")


def test_a_write_that_nobody_makes_room_for() -> None:
    fails(
        "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10000], 4) = 0\n+0 write(4, ..., 80000) = 80000",
        "line 10: write(4, ..., 80000) = 80000 never returns",
    )


def test_part_of_a_write_without_waiting() -> None:
    passes(
        NONBLOCKING + "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10000], 4) = 0\n"
        "+0 write(4, ..., 80000) = 32767\n+0 write(4, ..., 10) = -1 EAGAIN (Resource temporarily unavailable)"
    )


def test_connecting_twice() -> None:
    verdict = play(
        "0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3\n"
        "+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n"
        "+0 > S 0:0(0) <...>\n"
        "+0 connect(3, ..., ...) = -1 EALREADY (Operation already in progress)\n"
        "+.1 < S. 0:0(0) ack 1 win 1000\n+0 > . 1:1(0) ack 1\n"
        "+0 connect(3, ..., ...) = 0\n"
        "+0 connect(3, ..., ...) = -1 EISCONN (Is connected)\n"
    )
    assert verdict.outcome == "passed", verdict


def test_a_port_is_taken_once() -> None:
    passes("+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 5\n+0 listen(5, 1) = -1 EADDRINUSE (Address in use)")


def test_codes_and_errnos() -> None:
    assert {errno_of(code) for code in ERRNO} == set(ERRNO.values())
    assert errno_of("no_buffers") == "NO_BUFFERS"
