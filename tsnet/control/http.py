"""HTTP/2 inside ts2021: the client half and the server half, as byte machines.

    client   stream = request(method, path, body)   transmit() -> bytes  receive(bytes) -> [Head | Body | End | Reset]
    server   receive(bytes) -> [Request | Cancelled]   respond(stream, ...), write(stream, data)   transmit() -> bytes

Prior knowledge, no upgrade. Both sides give the peer a large window and refill it as data arrives, for the stream
and for the connection: a client that forgets either stalls on a netmap of 64 KiB. What the peer's windows do not
admit waits here, in order, and goes out with a later `transmit`.

`receive` raises MalformedError when the connection is dead; the machine that owns the link catches it. `transmit` may
still hold a GOAWAY then. A server that says GOAWAY itself has `ended` the connection: h2 takes nothing more after it.

`h2` is imported at first use: bare `import tsnet` stays cheap.

Source: RFC 9113; Go control/ts2021/client.go.
Not here: what the requests say (`messages`), the encryption below (`transport`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from tsnet.base.malformed import MalformedError

WINDOW = 1 << 20
"""Per stream: what a peer may have in flight."""

CONNECTION_WINDOW = 4 * WINDOW
MAX_STREAMS = 1000
MAX_REQUEST_BODY = 1 << 20
MAX_UNFINISHED = 8 << 20
"""Of all request bodies of one connection that are not whole yet."""

MAX_HEADER_LIST = 64 * 1024

Headers = Sequence[tuple[str, str]]


@attrs.frozen
class Head:
    """The response has begun. `headers` holds no pseudo headers; names are lower case."""

    stream: int
    status: int
    headers: dict[str, str]


@attrs.frozen
class Body:
    stream: int
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class End:
    stream: int


@attrs.frozen
class Reset:
    """The response will not be completed. `error_code` as in RFC 9113 §7."""

    stream: int
    error_code: int


@attrs.frozen
class Request:
    """One whole request. `path` carries the query."""

    stream: int
    method: str
    path: str
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Cancelled:
    """The client no longer wants the answer of this stream."""

    stream: int


class _Half:
    """What both halves share: the h2 connection, bodies that wait for the peer's windows, the bytes to send."""

    def __init__(self, *, client: bool) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.settings import SettingCodes, Settings

        # As Go's server, ours does not mind a Host that differs from :authority (tailscale-rs leaves the port out).
        config = H2Configuration(client_side=client, header_encoding="utf-8", validate_inbound_headers=client)
        self._h2: Any = H2Connection(config)
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
        self.ended = False

    def transmit(self) -> bytes:
        """Everything that may go out now, under the peer's windows."""
        if not self.ended:
            for stream in [stream for stream, body in self._bodies.items() if body.waits]:
                self._pour(stream)
        data: bytes = self._h2.data_to_send()
        return data

    def queued(self, stream: int) -> int:
        """Bytes of this stream that wait for the peer's window."""
        body = self._bodies.get(stream)
        return body.size if body is not None else 0

    def _events(self, data: bytes) -> list[Any]:
        from h2.events import ConnectionTerminated, StreamReset
        from h2.exceptions import ProtocolError

        try:
            events: list[Any] = self._h2.receive_data(data)
        except (ProtocolError, ValueError, KeyError, IndexError, AttributeError) as error:
            self.ended = True  # the last four are hpack's and hyperframe's on hostile bytes
            raise MalformedError(f"HTTP/2: {error or type(error).__name__}") from None
        for event in events:
            if isinstance(event, ConnectionTerminated):
                self.ended = True
            elif isinstance(event, StreamReset):
                self._bodies.pop(event.stream_id, None)
        return events

    def _consumed(self, event: Any) -> None:
        """Give the window back at once: what bounds memory here is the message, not the stream."""
        if event.flow_controlled_length and not self.ended:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _pour(self, stream: int) -> None:
        """Send of one body what the windows admit."""
        body = self._bodies[stream]
        while body.chunks:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            self._h2.send_data(stream, body.take(room))
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

    def __init__(self, authority: str) -> None:
        super().__init__(client=True)
        self._authority = authority
        self._live: set[int] = set()

    @property
    def usable(self) -> bool:
        """Whether a new request can be made on this connection."""
        return not self.ended and len(self._live) < self._h2.remote_settings.max_concurrent_streams

    def request(self, method: str, path: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> int:
        """Begin a request; its stream number names it in every event."""
        stream: int = self._h2.get_next_available_stream_id()
        lines = [
            (":method", method),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", path),
            *headers,
        ]
        self._h2.send_headers(stream, lines, end_stream=not body)
        self._live.add(stream)
        if body:
            outgoing = self._bodies[stream] = _Outgoing()
            outgoing.put(body)
            outgoing.ends = True
        return stream

    def cancel(self, stream: int) -> None:
        """Forget a request; no event of it follows."""
        if stream in self._live:
            self._live.discard(stream)
            self._reset(stream, 8)  # CANCEL

    def receive(self, data: bytes) -> list[Head | Body | End | Reset]:
        from h2 import events as h2

        found: list[Head | Body | End | Reset] = []
        for event in self._events(data):
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
                found.append(End(stream))
            elif isinstance(event, h2.StreamReset):
                self._live.discard(stream)
                found.append(Reset(stream, int(event.error_code)))
        return found


class HttpServer(_Half):
    """Control's half: whole requests in, responses out that may stream for hours."""

    def __init__(self) -> None:
        super().__init__(client=False)
        self._heads: dict[int, dict[str, str]] = {}
        self._requests: dict[int, bytearray] = {}
        self._unfinished = 0  # bytes in these
        self._open: set[int] = set()

    def receive(self, data: bytes) -> list[Request | Cancelled]:
        from h2 import events as h2

        found: list[Request | Cancelled] = []
        for event in self._events(data):
            stream: Any = getattr(event, "stream_id", None)
            if isinstance(event, h2.RequestReceived):
                self._heads[stream] = dict(event.headers)
                self._requests[stream] = bytearray()
                self._open.add(stream)
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
        self._h2.send_headers(stream, [(":status", str(status)), *headers], end_stream=end and not body)
        if end and not body:
            self._open.discard(stream)
            return
        self._bodies[stream] = _Outgoing()
        self.write(stream, body, end=end)

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Append to an open body; `queued(stream)` tells how much the client has not taken yet."""
        body = self._bodies.get(stream)
        if body is None or body.ends:
            return
        body.put(data)
        body.ends = end
        if end:
            self._open.discard(stream)

    def close(self, stream: int) -> None:
        """Break a response off: the client sees a reset, not an end."""
        if stream in self._open or stream in self._bodies:
            self._forget(stream)
            self._reset(stream, 8)  # CANCEL

    def _collect(self, stream: int, data: bytes) -> None:
        body = self._requests.get(stream)
        if body is None:
            return
        body += data
        self._unfinished += len(data)
        if len(body) > MAX_REQUEST_BODY or self._unfinished > MAX_UNFINISHED:
            del self._heads[stream]
            self._take_body(stream)
            self.respond(stream, 413)

    def _whole(self, stream: int) -> Request:
        head = self._heads.pop(stream)
        body = self._take_body(stream)
        return Request(stream, head.get(":method", ""), head.get(":path", ""), _plain(head.items()), body)

    def _take_body(self, stream: int) -> bytes:
        body = bytes(self._requests.pop(stream, b""))
        self._unfinished -= len(body)
        return body

    def _forget(self, stream: int) -> None:
        self._open.discard(stream)
        self._heads.pop(stream, None)
        self._take_body(stream)
        self._bodies.pop(stream, None)


def _head(stream: int, headers: Iterable[tuple[str, str]]) -> Head:
    fields = dict(headers)
    try:
        status = int(fields[":status"])
    except (KeyError, ValueError):
        raise MalformedError("HTTP/2: response without a status") from None
    return Head(stream, status, _plain(fields.items()))


def _plain(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if not name.startswith(":")}
