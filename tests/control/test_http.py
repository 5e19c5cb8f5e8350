from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.control.http import (
    MAX_REQUEST_BODY,
    MAX_UNFINISHED,
    Body,
    Cancelled,
    End,
    Head,
    HttpClient,
    HttpServer,
    Request,
    Reset,
)

Answer = Head | Body | End | Reset


class Pair:
    """Both halves joined by a list; `hold` keeps the client's bytes (its WINDOW_UPDATEs) from the server."""

    def __init__(self) -> None:
        self.client, self.server = HttpClient("control.example:8080"), HttpServer()
        self.answers: list[Answer] = []
        self.requests: list[Request | Cancelled] = []
        self.hold = False

    def run(self, cut: int = 1 << 20) -> None:
        while True:
            up = b"" if self.hold else self.client.transmit()
            down = self.server.transmit()
            for start in range(0, len(up), cut):
                self.requests += self.server.receive(up[start : start + cut])
            for start in range(0, len(down), cut):
                self.answers += self.client.receive(down[start : start + cut])
            if not up and not down:
                return

    def body(self, stream: int) -> bytes:
        return b"".join(answer.data for answer in self.answers if isinstance(answer, Body) and answer.stream == stream)


def test_a_request_and_its_answer() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/machine/register?x=1", b"{}", [("content-type", "application/json")])
    pair.run()
    (request,) = pair.requests
    assert request == Request(stream, "POST", "/machine/register?x=1", {"content-type": "application/json"}, b"{}")
    pair.server.respond(stream, 200, b"done", [("x-test", "1")])
    pair.run()
    assert pair.answers == [Head(stream, 200, {"x-test": "1"}), Body(stream, b"done"), End(stream)]


def asked(*headers: tuple[str, str]) -> list[Request | Cancelled]:
    """What the server makes of headers that our client would not send."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    client = H2Connection(H2Configuration(validate_outbound_headers=False))
    client.initiate_connection()
    client.send_headers(1, headers, end_stream=True)
    return HttpServer().receive(client.data_to_send())


def test_a_host_beside_another_authority_is_no_error() -> None:
    pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "control.example:8080")]
    assert asked(*pseudo, ("host", "control.example")) == [Request(1, "GET", "/", {"host": "control.example"}, b"")]


def test_a_request_without_method_and_path_asks_for_nothing() -> None:
    assert asked(("x-test", "1")) == [Request(1, "", "", {"x-test": "1"}, b"")]


def test_trickling_bytes_make_the_same_request() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/p", b"body" * 100)
    pair.run(cut=1)
    assert pair.requests == [Request(stream, "POST", "/p", {}, b"body" * 100)]


def test_without_bodies() -> None:
    pair = Pair()
    stream = pair.client.request("HEAD", "/p")
    pair.run()
    pair.server.respond(stream, 404)
    pair.run()
    assert pair.answers == [Head(stream, 404, {}), End(stream)]


def test_a_netmap_of_many_windows_arrives_because_both_windows_are_replenished() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/machine/map", b"{}")
    pair.run()
    pair.server.respond(stream, 200, end=False)
    for _ in range(12):
        pair.server.write(stream, bytes(1 << 20))
    pair.run()
    assert len(pair.body(stream)) == 12 << 20
    assert pair.server.queued(stream) == 0


def test_what_the_client_windows_do_not_admit_waits_in_the_server() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/machine/map", b"{}")
    pair.run()
    pair.hold = True
    pair.server.respond(stream, 200, bytes(3 << 20))
    pair.run()
    assert pair.server.queued(stream) == 2 << 20
    pair.hold = False
    pair.run()
    assert len(pair.body(stream)) == 3 << 20
    assert isinstance(pair.answers[-1], End)


def test_a_stream_that_is_full_does_not_hold_up_others() -> None:
    pair = Pair()
    slow, quick = pair.client.request("POST", "/a", b"{}"), pair.client.request("POST", "/b", b"{}")
    pair.run()
    pair.hold = True
    pair.server.respond(slow, 200, bytes(2 << 20))
    pair.server.respond(quick, 200, b"here")
    pair.run()
    assert pair.body(quick) == b"here"


def test_a_hundred_streams_at_once() -> None:
    pair = Pair()
    streams = [pair.client.request("POST", f"/{number}", b"{}") for number in range(120)]
    pair.run()
    assert len(pair.requests) == 120
    for stream in reversed(streams):
        pair.server.respond(stream, 200, b"%d" % stream, end=False)
    pair.run()
    for stream in streams:
        pair.server.write(stream, b"!", end=True)
    pair.run()
    assert [pair.body(stream) for stream in streams] == [b"%d!" % stream for stream in streams]
    assert len([answer for answer in pair.answers if isinstance(answer, End)]) == 120


def test_the_client_cancels() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/machine/map", b"{}")
    pair.run()
    pair.server.respond(stream, 200, b"first", end=False)
    pair.run()
    pair.client.cancel(stream)
    pair.server.write(stream, b"crossing")
    pair.run()
    assert pair.requests[1:] == [Cancelled(stream)]
    assert pair.body(stream) == b"first"
    pair.server.write(stream, b"late")
    pair.server.close(stream)
    pair.run()
    assert pair.client.usable


def test_the_server_breaks_off() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/machine/map", b"{}")
    pair.run()
    pair.server.respond(stream, 200, b"first", end=False)
    pair.server.close(stream)
    pair.run()
    assert pair.answers[-1] == Reset(stream, 8)


def test_requests_that_never_end_have_one_limit_together() -> None:
    """A client may have many streams open; none of them need ever be whole."""
    pair = Pair()
    half = bytes(MAX_REQUEST_BODY // 2)
    streams = []
    for _ in range(2 * MAX_UNFINISHED // MAX_REQUEST_BODY + 3):
        streams.append(pair.client.request("POST", "/p", half))
        pair.client._bodies[streams[-1]].ends = False
        pair.run()
    refused = [answer.stream for answer in pair.answers if isinstance(answer, Head) and answer.status == 413]
    assert refused[0] == streams[MAX_UNFINISHED // len(half) - 1]  # their headers count, too
    for stream in streams:
        pair.client.cancel(stream)
    pair.run()
    whole = pair.client.request("POST", "/p", half)
    pair.run()
    assert pair.requests[-1] == Request(whole, "POST", "/p", {}, half)


def test_a_request_that_is_too_large_gets_413() -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/p", bytes(MAX_REQUEST_BODY + 1))
    pair.run()
    assert pair.requests == []
    assert Head(stream, 413, {}) in pair.answers


def test_an_answer_to_a_stream_nobody_waits_for_is_dropped() -> None:
    pair = Pair()
    pair.server.respond(7, 200, b"x")
    pair.server.write(7, b"x")
    pair.server.close(7)
    pair.run()
    assert pair.answers == []


def test_garbage_is_malformed_for_both() -> None:
    data_on_stream_0 = bytes.fromhex("000001 00 00 00000000 41")
    with pytest.raises(MalformedError):
        HttpClient("h").receive(data_on_stream_0)
    with pytest.raises(MalformedError):
        HttpServer().receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("index", range(0, 120, 3))
def test_flipped_bits_raise_nothing_but_malformed(index: int) -> None:
    pair = Pair()
    stream = pair.client.request("POST", "/p", b"body")
    pair.run()
    pair.server.respond(stream, 200, b"answer" * 20, [("name", "value")])
    wire = bytearray(pair.server.transmit())
    wire[index % len(wire)] ^= 0xFF
    with contextlib.suppress(MalformedError):
        pair.client.receive(bytes(wire))


def test_goaway_ends_the_connection_behind_what_came_with_it() -> None:
    pair = Pair()
    stream = pair.client.request("GET", "/p")
    pair.run()
    pair.server.respond(stream, 200, b"done")
    wire = pair.server.transmit()
    pair.server._h2.close_connection()
    pair.answers += pair.client.receive(wire + pair.server.transmit())
    assert pair.body(stream) == b"done"
    assert pair.client.ended
    assert not pair.client.usable


def test_a_client_that_says_goaway_gets_no_more_answers() -> None:
    pair = Pair()
    stream, other = pair.client.request("POST", "/p", b"{}"), pair.client.request("POST", "/q", b"{}")
    pair.run()
    pair.server.respond(stream, 200, b"first", end=False)
    pair.client._h2.close_connection()
    pair.server.receive(pair.client.transmit())
    pair.server.write(stream, b"more", end=True)
    pair.server.respond(other, 200, b"late")
    pair.server.close(stream)
    pair.server.transmit()
    assert pair.server.ended


def test_an_answer_before_the_whole_request_stops_the_rest_of_it() -> None:
    pair = Pair()
    pair.run()
    stream = pair.client.request("POST", "/p", bytes(5 << 20))
    pair.server.receive(pair.client.transmit())
    pair.server.respond(stream, 200, b"no more")
    answer = pair.server.transmit()
    pair.server._h2.reset_stream(stream, 0)
    pair.client.receive(answer + pair.server.transmit())
    pair.run()
    assert pair.client.queued(stream) == 0


def test_h2_is_imported_when_it_is_needed() -> None:
    script = "import sys, tsnet, tsnet.control.http; sys.exit('h2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
