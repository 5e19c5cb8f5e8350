from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from tests.fuzzing import mutated
from tsnet.base.malformed import MalformedError
from tsnet.base.work import Work
from tsnet.http1.answers import Reason, Unusable
from tsnet.http1.asking import CRUMB, MAX_BODY, MAX_HEAD, MAX_HINTS, Asking, Response

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;name=value\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"
OLD = b"HTTP/1.0 200\r\n\r\nhello"
HINTED = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + PLAIN
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
WHOLE = {"plain": PLAIN, "chunked": CHUNKED, "to the end": TO_THE_END, "old": OLD, "hinted": HINTED}


def asking(method: str = "GET", **options: int) -> Asking:
    return Asking(method, "/", "h", **options)  # type: ignore[arg-type]


def read(wire: bytes, *, end: bool = True, method: str = "GET", **options: int) -> Response | None:
    one = asking(method, **options)
    response = one.receive(wire)
    if response is None and end:
        one.end()
        response = one.go_on()
    return response


def in_pieces(wire: bytes, cuts: list[int]) -> Response | None:
    one = asking()
    for begin, end in pairwise([0, *cuts, len(wire)]):
        if (response := one.receive(wire[begin:end])) is not None:
            return response
    one.end()
    return one.go_on()


def reason(wire: bytes, *, end: bool = True) -> Reason:
    with pytest.raises(Unusable) as raised:
        read(wire, end=end)
    return raised.value.reason


# --- the request ----------------------------------------------------------------------------------------------------


def test_a_request_in_bytes() -> None:
    one = Asking("POST", "/token?x=1", "h:8080", [("Accept", "*/*")], b"a=1")
    assert one.sent == (b"POST /token?x=1 HTTP/1.1\r\nHost: h:8080\r\nAccept: */*\r\nContent-Length: 3\r\n\r\na=1")


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", [("X", "a\r\nY: b")]),
        ("GET", "/", [("X\r\nY", "b")]),
        ("GET", "/", [("X", "hunter2\n")]),
        ("GET", "/", [("Schlüssel", "hunter2")]),
        ("GET", "/", [("Host", "other")]),
        ("GET", "/a b", []),
        ("GET", "", []),
        ("GET POST", "/", []),
        ("", "/", []),
    ],
)
def test_what_cannot_be_written(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Unusable) as raised:
        Asking(method, target, "h", headers)
    assert raised.value.reason is Reason.REQUEST
    assert "hunter2" not in str(raised.value)


# --- the answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WHOLE.values(), ids=WHOLE)
def test_a_whole_answer_of_each_framing(wire: bytes) -> None:
    response = read(wire)
    assert response is not None
    assert (response.status, response.body) == (200, b"hello")


def test_repeated_headers_are_joined() -> None:
    response = read(PLAIN)
    assert response is not None
    assert response.headers == {"content-length": "5", "x-a": "1, 2"}


@pytest.mark.parametrize("wire", WHOLE.values(), ids=WHOLE)
def test_answers_may_come_byte_by_byte(wire: bytes) -> None:
    one = asking()
    found = [response for byte in wire if (response := one.receive(bytes([byte]))) is not None]
    one.end()
    response = found[0] if found else one.go_on()
    assert response is not None
    assert response.body == b"hello"


@pytest.mark.parametrize("cut", range(len(PLAIN)))
def test_a_plain_answer_that_is_cut_short(cut: int) -> None:
    assert reason(PLAIN[:cut]) is Reason.TRUNCATED


@pytest.mark.parametrize("cut", range(len(CHUNKED)))
def test_a_chunked_answer_that_is_cut_short(cut: int) -> None:
    assert reason(CHUNKED[:cut]) is Reason.TRUNCATED


@pytest.mark.parametrize("wire", [PLAIN, CHUNKED, HINTED, TO_THE_END], ids=["plain", "chunked", "hinted", "to the end"])
def test_a_flipped_bit_gives_an_answer_or_a_reason(wire: bytes) -> None:
    for position in range(len(wire)):
        for bit in range(8):
            flipped = bytearray(wire)
            flipped[position] ^= 1 << bit
            with suppress(Unusable):
                read(bytes(flipped))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_answers_give_an_answer_or_a_reason(seed: int) -> None:
    chance = Random(seed)
    samples = [*WHOLE.values(), SWITCH]
    for _ in range(500):
        wire = b"".join(mutated(chance.choice(samples), chance) for _ in range(chance.randint(1, 3)))
        cuts = sorted(chance.randrange(len(wire) + 1) for _ in range(3))
        with suppress(Unusable):
            in_pieces(wire, cuts)


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        SWITCH,
    ],
)
def test_what_is_no_answer_is_malformed(wire: bytes) -> None:
    assert reason(wire, end=False) is Reason.MALFORMED


def test_the_reason_repeats_no_line_of_the_server() -> None:
    with pytest.raises(Unusable) as raised:
        read(b"HTTP/1.1 200 OK\r\nhunter2\r\n\r\n")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("cut", range(1, len(SWITCH) + 5))
def test_bytes_behind_a_101_are_kept(cut: int) -> None:
    one = Asking("GET", "/", "h", [("Upgrade", "x"), ("Connection", "upgrade")])
    wire = SWITCH + b"noise" + b"x" * 10_000
    response = one.receive(wire[:cut]) or one.receive(wire[cut:])
    assert response is not None
    assert response.status == 101
    assert response.rest + (wire[cut:] if cut >= len(SWITCH) else b"") == b"noise" + b"x" * 10_000


def test_the_answer_to_head_has_no_body() -> None:
    response = read(PLAIN.removesuffix(b"hello"), end=False, method="HEAD")
    assert response is not None
    assert response.body == b""


def test_a_stream_that_ends_before_an_answer_is_malformed_to_control() -> None:
    one = asking()
    one.end()
    with pytest.raises(MalformedError):
        one.go_on()


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_bodies_are_bounded() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
    with pytest.raises(Unusable, match=f"more than {MAX_BODY}") as raised:
        read(head + b"x" * (MAX_BODY + 1))
    assert raised.value.reason is Reason.BODY_TOO_LARGE
    response = read(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10, max_body=10)
    assert response is not None


@pytest.mark.parametrize("at_once", [1 << 20, 1000])
@pytest.mark.parametrize("line", [b"X: " + b"y" * 1000 + b"\r\n", b"a:\r\n", b"y"])
@pytest.mark.parametrize("status", [200, 103])
def test_heads_are_bounded_however_they_come(at_once: int, line: bytes, status: int) -> None:
    wire = b"HTTP/1.1 %d OK\r\nX: " % status + line * (2 * MAX_HEAD // len(line)) + b"\r\n\r\n"
    with pytest.raises(Unusable) as raised:
        in_pieces(wire, list(range(at_once, len(wire), at_once)))
    assert raised.value.reason is Reason.HEAD_TOO_LARGE


def test_announcements_are_bounded() -> None:
    hint = HINTED.removesuffix(PLAIN)
    assert read(hint * MAX_HINTS + PLAIN) is not None
    assert reason(hint * (MAX_HINTS + 1), end=False) is Reason.FLOOD


def test_a_chunk_s_line_and_trailers_are_bounded() -> None:
    head = CHUNKED.partition(b"3;")[0]
    assert reason(head + b"3;" + b"x" * 2 * MAX_HEAD, end=False) is Reason.HEAD_TOO_LARGE
    assert reason(head + b"0\r\n" + b"a: b\r\n" * MAX_HEAD, end=False) is Reason.HEAD_TOO_LARGE


def test_a_body_in_crumbs_is_a_flood() -> None:
    head = CHUNKED.partition(b"3;")[0]
    assert reason(head + b"1\r\nx\r\n" * 2000, end=False) is Reason.FLOOD
    chunk = b"%x\r\n%b\r\n" % (CRUMB, b"x" * CRUMB)
    response = read(head + chunk * 1000 + b"0\r\n\r\n", end=False)
    assert response is not None
    assert len(response.body) == 1000 * CRUMB


def test_one_call_takes_apart_what_its_work_allows() -> None:
    head = CHUNKED.partition(b"3;")[0]
    one = asking()
    one.feed(head + b"1\r\nx\r\n" * 500 + b"0\r\n\r\n")
    calls, response = 0, None
    while response is None:
        assert one.has_input
        work = Work(50)
        response = one.go_on(0.0, work)
        assert work.left > -50
        calls += 1
    assert calls >= 10
    assert response.body == b"x" * 500


def test_what_is_read_before_the_end_comes_first() -> None:
    one = asking()
    one.feed(TO_THE_END)
    one.end()
    response = one.go_on()
    assert response is not None
    assert response.body == b"hello"
