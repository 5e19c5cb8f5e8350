"""HTTP/2 inside ts2021: the client half and the server half, as byte machines.

    client   stream = request(method, path, body)   transmit() -> bytes  receive(bytes) -> [Head | Body | End | Reset]
    server   receive(bytes) -> [Request | Cancelled]   respond(stream, ...), write(stream, data)   transmit() -> bytes

Prior knowledge, no upgrade. Both sides give the peer a large window and refill it as data arrives, for the stream
and for the connection: a client that forgets either stalls on a netmap of 64 KiB. What the peer's windows do not
admit waits here, in order, and goes out with a later `transmit`.

`receive` takes apart what the turn's work allows; while `has_input`, call it again in the next turn. It raises
MalformedError when the connection is dead, and Flood for a peer that sends too much of nothing (`incomingframes`); the
machine that owns the link catches both. `transmit` may still hold a GOAWAY then. A peer that says GOAWAY itself has
`ended` the connection: h2 takes nothing more after it. If h2 refuses what we ask of it, `fault` says why, and the
connection has ended as well: no error of h2 leaves this module.

What one connection can make us keep: the headers and bodies of requests that are not whole, together MAX_UNFINISHED;
of answers that its windows do not admit MAX_UNTAKEN, above which those that grow are broken off.

`h2` is imported at first use: bare `import tsnet` stays cheap.

Source: RFC 9113; Go control/ts2021/client.go.
Not here: what the requests say (`messages`), the encryption below (`transport`).
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from tsnet.base.allowance import Allowance, Flood
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.work import UNLIMITED, Work
from tsnet.control.incomingframes import DATA, HEADERS, IncomingFrames

WINDOW = 1 << 20
"""Per stream: what a peer may have in flight."""

CONNECTION_WINDOW = 4 * WINDOW
MAX_STREAMS = 250
"""Go's own server allows as many."""

MAX_CLOSED_STREAMS = 1000
"""How many streams h2 remembers after their end, to tell a late frame from a wrong one."""

MAX_REQUEST_BODY = 1 << 20
MAX_UNFINISHED = 4 << 20
"""Bytes of headers and bodies of all requests of one connection that are not whole yet."""

MAX_UNTAKEN = 6 << 20
"""Bytes of answers that wait for a client's windows. Above that, another answer is broken off when it grows."""

MAX_HEADER_LIST = 16 * 1024
PING_DATA = bytes(8)
CANCEL, ENHANCE_YOUR_CALM = 8, 11

Headers = Sequence[tuple[str, str]]


@record
class Head:
    """The response has begun. `headers` holds no pseudo headers; names are lower case."""

    stream: int
    status: int
    headers: dict[str, str]


@record
class Body:
    stream: int
    data: bytes = attrs.field(repr=False)


@record
class End:
    stream: int


@record
class Reset:
    """The response will not be completed. `error_code` as in RFC 9113 §7."""

    stream: int
    error_code: int


@record
class Request:
    """One whole request. `path` carries the query."""

    stream: int
    method: str
    path: str
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@record
class Cancelled:
    """The client no longer wants the answer of this stream."""

    stream: int


class _Half:
    """What both halves share: the h2 connection, bodies that wait for the peer's windows, the bytes to send.

    allowance: what the peer may send of nothing; that of the connection around this one, if it counts more.
    """

    def __init__(self, *, client: bool, allowance: Allowance | None) -> None:
        from h2.config import H2Configuration
        from h2.settings import SettingCodes, Settings

        # As Go's server, ours does not mind a Host that differs from :authority (tailscale-rs leaves the port out).
        config = H2Configuration(client_side=client, header_encoding="utf-8", validate_inbound_headers=client)
        self._h2 = _connection_class()(config)
        self._intake = IncomingFrames(allowance or Allowance(0.0), server=not client)
        settings = {
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        }
        if client:
            settings[SettingCodes.ENABLE_PUSH] = 0
        self._h2.local_settings = Settings(client=client, initial_values=settings)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        self._bodies: dict[int, _Outgoing] = {}
        self.ended: bool = False
        self.fault: str = ""
        """Why we have ended the connection ourselves."""

    @property
    def has_input(self) -> bool:
        """Whether frames are left over that `receive` has not taken apart."""
        return not self.ended and self._intake.has_more

    def transmit(self) -> bytes:
        """Everything that may go out now, under the peer's windows."""
        for stream in [stream for stream, body in self._bodies.items() if body.waits]:
            if self.ended:
                break
            self._use(self._pour, stream)
        data: bytes = self._h2.data_to_send()
        return data

    def queued(self, stream: int) -> int:
        """Bytes of this stream that wait for the peer's window."""
        body = self._bodies.get(stream)
        return body.size if body is not None else 0

    def _events(self, data: bytes, now: float, work: Work | None) -> Iterator[Any]:
        """What the frames mean, one after the other. Raises MalformedError and Flood."""
        from h2.events import ConnectionTerminated, StreamReset

        self._intake.feed(data)
        work = work or Work(UNLIMITED)
        while not self.ended and (events := self._next_events(now, work)) is not None:
            for event in events:
                if isinstance(event, ConnectionTerminated):
                    self.ended = True
                elif isinstance(event, StreamReset):
                    self._bodies.pop(event.stream_id, None)
                yield event

    def _next_events(self, now: float, work: Work) -> list[Any] | None:
        """Of one frame; None if none is whole, or no work is left."""
        try:
            frame = self._intake.take(now, work)
            if frame is None:
                return None
            events: list[Any] = self._h2.receive_data(frame)
            if not events and self._intake.kind in (DATA, HEADERS):
                self._intake.ignored(now)
        except Flood:
            self._use(self._h2.close_connection, ENHANCE_YOUR_CALM)
            self.ended = True
            raise
        except Exception as error:  # h2's own, hpack's, hyperframe's, and builtin ones by bytes that nobody thought of
            self.ended = True
            raise MalformedError(f"HTTP/2: {error or type(error).__name__}") from None
        return events

    def _use(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
        """Ask h2 for something; returns whether it did that. A refusal ends the connection: h2 may be half done."""
        try:
            function(*arguments, **options)
        except Exception as error:  # see above
            self.ended = True
            self.fault = self.fault or f"HTTP/2 is out of step: {error or type(error).__name__}"
            return False
        return True

    def _consumed(self, event: Any) -> None:
        """Give the window back at once: what bounds memory here is the message, not the stream."""
        if event.flow_controlled_length and not self.ended:
            self._use(self._h2.acknowledge_received_data, event.flow_controlled_length, event.stream_id)

    def _pour(self, stream: int) -> None:
        """Send of one body what the windows admit."""
        body = self._bodies[stream]
        while body.chunks:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            chunk = body.take(room)
            self._h2.send_data(stream, chunk)
            self._intake.sent(len(chunk))
        if body.ends:
            self._h2.end_stream(stream)
            del self._bodies[stream]

    def _reset(self, stream: int, error_code: int) -> None:
        from h2.exceptions import ProtocolError

        self._bodies.pop(stream, None)
        try:
            self._h2.reset_stream(stream, error_code)
        except ProtocolError:  # closed meanwhile by the other side
            return


class _Outgoing:
    """A body on its way out, in the order written."""

    __slots__ = ("chunks", "ends", "size")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.ends = False

    @property
    def waits(self) -> bool:
        return self.ends or bool(self.chunks)

    def put(self, data: bytes) -> None:
        if data:
            self.chunks.append(data)
            self.size += len(data)

    def take(self, room: int) -> bytes:
        chunk = self.chunks.popleft()
        if len(chunk) > room:
            self.chunks.appendleft(chunk[room:])
            chunk = chunk[:room]
        self.size -= len(chunk)
        return chunk


class HttpClient(_Half):
    """The node's half: several requests at once, response bodies as they arrive."""

    def __init__(self, authority: str, allowance: Allowance | None = None) -> None:
        super().__init__(client=True, allowance=allowance)
        self._authority = authority
        self._live: set[int] = set()

    @property
    def usable(self) -> bool:
        """Whether a new request can be made on this connection: it lives, and the server takes another stream now."""
        return self.room > 0

    @property
    def room(self) -> int:
        """How many new requests can be made."""
        if self.ended or self._h2.highest_outbound_stream_id >= self._h2.HIGHEST_ALLOWED_STREAM_ID - 1:
            return 0
        most: int = self._h2.remote_settings.max_concurrent_streams
        taken: int = max(len(self._live), self._h2.open_outbound_streams)
        return max(most - taken, 0)

    def request(self, method: str, path: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> int:
        """Begin a request, while `usable`; its stream number names it in every event.

        A request that h2 refuses is never answered: the connection has ended with a `fault`.
        """
        stream: int = (self._h2.highest_outbound_stream_id or -1) + 2
        lines = [
            (":method", method),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", path),
            *headers,
        ]
        if not self._use(self._h2.send_headers, stream, lines, end_stream=not body):
            return stream
        self._live.add(stream)
        if body:
            outgoing = self._bodies[stream] = _Outgoing()
            outgoing.put(body)
            outgoing.ends = True
        return stream

    def ping(self) -> None:
        """Ask for a sign of life. The answer is no event: any bytes are such a sign."""
        if not self.ended:
            self._use(self._h2.ping, PING_DATA)

    def cancel(self, stream: int) -> None:
        """Forget a request; no event of it follows."""
        if stream in self._live:
            self._live.discard(stream)
            self._reset(stream, CANCEL)

    def receive(self, data: bytes, now: float = 0.0, work: Work | None = None) -> list[Head | Body | End | Reset]:
        from h2 import events as h2

        found: list[Head | Body | End | Reset] = []
        for event in self._events(data, now, work):
            stream: Any = getattr(event, "stream_id", None)
            if isinstance(event, h2.DataReceived):
                self._consumed(event)
                if stream in self._live and event.data:
                    found.append(Body(stream, event.data))
            elif stream not in self._live:
                continue
            elif isinstance(event, h2.ResponseReceived):
                found.append(_head(stream, event.headers))
            elif isinstance(event, h2.StreamEnded):
                self._live.discard(stream)
                if stream in self._bodies:
                    self._reset(stream, CANCEL)  # the server has answered before it had the whole request
                found.append(End(stream))
            elif isinstance(event, h2.StreamReset):
                self._live.discard(stream)
                found.append(Reset(stream, int(event.error_code)))
        return found


class HttpServer(_Half):
    """Control's half: whole requests in, responses out that may stream for hours."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        super().__init__(client=False, allowance=allowance)
        self._heads: dict[int, dict[str, str]] = {}
        self._requests: dict[int, bytearray] = {}
        self._unfinished = 0  # bytes in these
        self._open: set[int] = set()

    @property
    def burden(self) -> int:
        """Bytes of requests that are not whole, and of answers that are not taken."""
        return self._unfinished + sum(body.size for body in self._bodies.values())

    def receive(self, data: bytes, now: float = 0.0, work: Work | None = None) -> list[Request | Cancelled]:
        from h2 import events as h2

        found: list[Request | Cancelled] = []
        for event in self._events(data, now, work):
            stream: Any = getattr(event, "stream_id", None)
            if isinstance(event, h2.RequestReceived):
                self._begin(stream, event.headers)
            elif isinstance(event, h2.DataReceived):
                self._consumed(event)
                self._collect(stream, event.data)
            elif isinstance(event, h2.StreamEnded) and stream in self._heads:
                found.append(self._whole(stream))
            elif isinstance(event, h2.StreamReset):
                if stream in self._open and stream not in self._heads:
                    found.append(Cancelled(stream))
                self._forget(stream)
        return found

    def respond(self, stream: int, status: int, body: bytes = b"", headers: Headers = (), *, end: bool = True) -> None:
        """Answer a request. end=False leaves the body open for `write`. An answer nobody waits for is dropped."""
        if stream not in self._open or self.ended:
            return
        lines = [(":status", str(status)), *headers]
        sent = self._use(self._h2.send_headers, stream, lines, end_stream=end and not body)
        if not sent or (end and not body):
            self._open.discard(stream)
            return
        self._bodies[stream] = _Outgoing()
        self.write(stream, body, end=end)

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Append to an open body; `queued(stream)` tells how much the client has not taken yet."""
        body = self._bodies.get(stream)
        if body is None or body.ends:
            return
        if data and sum(other.size for other in self._bodies.values()) - body.size > MAX_UNTAKEN:
            self._forget(stream)
            self._reset(stream, ENHANCE_YOUR_CALM)
            return
        body.put(data)
        body.ends = end
        if end:
            self._open.discard(stream)

    def close(self, stream: int) -> None:
        """Break a response off: the client sees a reset, not an end."""
        if stream in self._open or stream in self._bodies:
            self._forget(stream)
            self._reset(stream, CANCEL)

    def _begin(self, stream: int, headers: Iterable[tuple[str, str]]) -> None:
        self._heads[stream] = dict(headers)
        self._requests[stream] = bytearray()
        self._open.add(stream)
        self._unfinished += _size(self._heads[stream])
        self._check_size(stream)

    def _collect(self, stream: int, data: bytes) -> None:
        body = self._requests.get(stream)
        if body is None:
            return
        body += data
        self._unfinished += len(data)
        self._check_size(stream)

    def _check_size(self, stream: int) -> None:
        """Refuse a request that is too large, or finds too much of others that are not whole."""
        if len(self._requests[stream]) > MAX_REQUEST_BODY or self._unfinished > MAX_UNFINISHED:
            self._take(stream)
            self.respond(stream, 413)

    def _whole(self, stream: int) -> Request:
        head, body = self._take(stream)
        return Request(stream, head.get(":method", ""), head.get(":path", ""), _plain(head.items()), body)

    def _take(self, stream: int) -> tuple[dict[str, str], bytes]:
        """What has come of a request, which is unfinished no longer."""
        head, body = self._heads.pop(stream, {}), bytes(self._requests.pop(stream, b""))
        self._unfinished -= _size(head) + len(body)
        return head, body

    def _forget(self, stream: int) -> None:
        self._open.discard(stream)
        self._take(stream)
        self._bodies.pop(stream, None)


@functools.cache
def _connection_class() -> Any:
    """h2's own, which remembers less."""
    from h2.connection import H2Connection

    limits = {"MAX_CLOSED_STREAMS": MAX_CLOSED_STREAMS, "DEFAULT_MAX_HEADER_LIST_SIZE": MAX_HEADER_LIST}
    return type("Connection", (H2Connection,), limits)


def _size(headers: dict[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in headers.items())


def _head(stream: int, headers: Iterable[tuple[str, str]]) -> Head:
    fields = dict(headers)
    try:
        status = int(fields[":status"])
    except (KeyError, ValueError):
        raise MalformedError("HTTP/2: response without a status") from None
    return Head(stream, status, _plain(fields.items()))


def _plain(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if not name.startswith(":")}
