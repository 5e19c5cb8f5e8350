"""System calls by name."""

from __future__ import annotations

import pytest

from tests.scripts.played import fails, passes, play

DATA = "+0 < P. 1:101(100) ack 1 win 65535\n+0 > . 1:1(0) ack 101\n"


@pytest.mark.parametrize(
    "call",
    [
        "write(4, ..., 60) = 60",
        "send(4, ..., 60, 0) = 60",
        "sendto(4, ..., 60, 0, ..., ...) = 60",
        "writev(4, [{..., 40}, {..., 20}], 2) = 60",
        "sendmsg(4, {msg_name(...)=..., msg_iov(2)=[{..., 40}, {..., 20}], msg_flags=0}, 0) = 60",
    ],
)
def test_sending(call: str) -> None:
    passes(f"+0 {call}\n+0 > P. 1:61(60) ack 1")


@pytest.mark.parametrize(
    "call",
    [
        "read(4, ..., 60) = 60",
        "recv(4, ..., 60, 0) = 60",
        "recvfrom(4, ..., 60, 0, ..., ...) = 60",
        "readv(4, [{..., 40}, {..., 20}], 2) = 60",
        "recvmsg(4, {msg_name(...)=..., msg_iov(2)=[{..., 40}, {..., 20}], msg_flags=0}, 0) = 60",
    ],
)
def test_receiving(call: str) -> None:
    passes(DATA + f"+0 {call}\n+0 read(4, ..., 100) = 40")


@pytest.mark.parametrize(
    "text",
    [
        DATA + "+0 ioctl(4, SIOCINQ, [100]) = 0\n+0 ioctl(4, FIONREAD, [100]) = 0",
        "+0 write(4, ..., 60) = 60\n+0 ioctl(4, SIOCOUTQ, [60]) = 0\n+0 ioctl(4, SIOCOUTQNSD, [0]) = 0",
        "+0 fcntl(4, F_GETFL) = 0x2 (flags O_RDWR)",
        "+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n+0 fcntl(4, F_GETFL) = 0x802",
        "+0 close(4) = 0\n+0 read(4, ..., 1) = -1 EBADF (Bad file descriptor)",
        '+0 open("/a", O_RDONLY) = 5\n+0 sendfile(4, 5, [0], 60) = 60\n+0 > P. 1:61(60) ack 1\n+0 close(5) = 0',
        "+0 socket(..., SOCK_STREAM, IPPROTO_UDP) = -1 EPROTONOSUPPORT (No)",
    ],
)
def test_other_calls(text: str) -> None:
    passes(text)


def test_poll() -> None:
    passes(DATA + "+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLIN|POLLOUT}], 1, 0) = 1")
    passes("+0...0.2 poll([{fd=4, events=POLLIN, revents=0}], 1, 200) = 0")
    passes("+0...0.1 poll([{fd=4, events=POLLIN, revents=POLLIN}], 1, -1) = 1\n+.1 < P. 1:101(100) ack 1 win 65535")
    fails("+0 poll([{fd=4, events=POLLOUT, revents=POLLIN}], 1, 0) = 1", "poll says ['POLLOUT'], expected ['POLLIN']")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("+0 ioctl(4, SIOCINQ, [1]) = 0", "SIOCINQ is 0, expected 1"),
        ("+0 frobnicate(4) = 0", "no such system call: frobnicate"),
        ("+0 read(4, ..., ...) = 0", "arguments not understood"),
        ("+0 write(4, ..., 10) = 9", "returned 10 , expected 9"),
        ("+0 accept(3, ..., ...) = 5", "never returns"),
        ("+0 recv(4, ..., 10, MSG_PEEK) = 0", "netstack has no reading with MSG_PEEK"),
    ],
)
def test_complaints(text: str, why: str) -> None:
    fails(text, why)


def test_ports_come_from_bind() -> None:
    address = '{sa_family = AF_INET, sin_port = htons(99), sin_addr = inet_addr("192.168.0.1")}'
    verdict = play(
        f"0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, {address}, 16) = 0\n+0 listen(3, 1) = 0\n"
        "+0 < S 0:0(0) win 10\n+0 > S. 0:0(0) ack 1 <...>\n"
    )
    assert verdict.outcome == "passed", verdict
