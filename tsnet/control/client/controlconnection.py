"""One connection to control: the server's key, a channel, and the requests on that channel.

    key link    Open ── GET /key ── 200 ── close        not when the key was proved just now
    noise link  Open ───────────────────── upgrade ──── requests and answers
    noise link  Open ── upgrade ── requests             with a key that is trusted already

All links open at once, so that a join costs one round trip less; with a trusted key the upgrade does not wait for /key,
and that costs one less again. Then /key counts only until the server has proved that key: if it names another one, the
handshake begins anew with that, on another link. The key link's certificate identifies the server. A key other than the
one we trust is accepted only if that certificate was verified; otherwise no byte of a handshake with it goes to its
owner. Whatever breaks the connection sets `lost`, with the error that an application would see: also a
server that floods us, that takes no request for READY_TIMEOUT, or that does not read for WRITE_TIMEOUT.

`read` takes apart what one turn may cost (TURN units of work). The link is paused while input is left over, and while
it is full, so that nothing grows that the server can send without end.

Source: Go control/controlclient/direct.go loadServerPubKeys, control/ts2021/client.go.
Not here: what is asked, and when to connect again (`client`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, assert_never

import attrs

from tsnet.base.allowance import Flood
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import (
    Accepted,
    Close,
    Closed,
    Computed,
    Data,
    Datagrams,
    Effect,
    Event,
    Full,
    Link,
    LookedUp,
    Opened,
    Pause,
    Received,
    Resume,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.base.printable import printable
from tsnet.base.records import record
from tsnet.base.trace import Trace
from tsnet.base.work import Work
from tsnet.control.client import controlerrors
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.backoff import http_date
from tsnet.control.client.channel import Channel, HttpEvent, Refused, SpokeFirst
from tsnet.control.client.portal import TIMEOUT, PortalQuestion, may_be_portal
from tsnet.control.http import Body, Head, Reset
from tsnet.control.messages import KEY_PATH, ControlKeys
from tsnet.errors import Error
from tsnet.http1.asking import Asking, Response

READY_TIMEOUT = 15.0
SLOW = 4.0
"""Seconds after which whoever waits is told that control has not answered yet. It is still waited for."""

DOUBT_AT_LEAST, DOUBT_AT_MOST = 0.5, 3.0
WRITE_TIMEOUT = 30.0
"""Seconds that the link may stay full."""

TURN = 256
"""Units of work that one `read` costs at most: about 3 ms."""

MAX_ANSWER = 1 << 20

Purpose = Literal["register", "recheck", "logout", "poll", "publish", "ping", "request"]


@record
class Lost:
    """hopeless: whether waiting cannot help, as far as this connection could see. answer: the HTTP answer behind it.

    is_garbled: it is hopeless because an answer makes no sense, which may have been garbled on its way.
    """

    reason: str
    error: Error
    hopeless: bool = False
    answer: Response | None = None
    is_garbled: bool = False


@attrs.define
class Exchange:
    """A request, and its answer so far. status: 0 if the server broke the answer off.

    is_too_long: whether we have broken it off, since it has more than MAX_ANSWER bytes.
    """

    purpose: Purpose
    stream: int
    status: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytearray = attrs.field(factory=bytearray, repr=False)
    is_too_long: bool = False

    @property
    def text(self) -> str:
        """The start of an error's body, made printable."""
        text = bytes(self.body[:200]).decode("utf-8", "replace")
        return printable(" ".join(text.split()))


@record
class Piece:
    """A piece of the map poll's answer, which streams once its status is 200."""

    exchange: Exchange
    data: bytes = attrs.field(repr=False)


class ControlConnection:
    """lost: set once, when the connection is of no more use. control_key: the server's key, once known.
    flood: what the server sent too much of, if that is why. slow_at: when it is slow to prove its key,
    which is_slow tells then. ready_by, taken_by, room_by, heard_by: when it must have proved its key, must take a
    request again, must have read again, must have said anything (`doubt`); inf while that is so, or nobody asks.

    date: the Unix time by the clock of who named the key, where that was said just now; for the owner to take.
    control_key: one to begin with. asks: whether the server is asked for it, as it must be if none is given.
    objection: why not to trust the key that it names, or None (`ServerKey.objection`).
    """

    def __init__(
        self,
        address: ControlAddress,
        private: MachinePrivateKey,
        *,
        control_key: MachineKey | None,
        asks: bool,
        objection: Callable[[MachineKey], tuple[str, Error] | None],
        new_link: Callable[[str], Link],
        entropy: Callable[[int], bytes],
        now: float,
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self.lost: Lost | None = None
        self.is_slow: bool = False
        self.control_key = control_key
        self.flood: str = ""
        self.date: float | None = None
        self.ready_by: float = now + READY_TIMEOUT
        self.slow_at: float = now + SLOW
        self.taken_by: float = math.inf
        self.room_by: float = math.inf
        self.heard_by: float = math.inf
        self._begun, self._took = now, 0.0
        self._paused = False
        self._address = address
        self._objection = objection
        self._effects: list[Effect] = []
        self._new_link = new_link
        self._portal: PortalQuestion | None = None
        """Whether a login page answers, asked once a certificate was refused. Until it is known nothing is told."""
        self._exchanges: dict[int, Exchange] = {}
        self._unwanted: set[int] = set()
        self._new_channel: Callable[[], Channel] = lambda: Channel(new_link("noise"), address, private, entropy, now)
        self._channel: Channel = self._new_channel()
        self._channel_lost: Lost | None = None
        """How the handshake with a key that we trusted has ended, while /key may still name another one."""
        self._asking: Asking | None = None
        """Until the server has named its key: the answer is not kept for as long as the connection lives."""
        self._key_link: Link | None = None
        if asks:
            self._key_link, self._asking = new_link("key"), Asking("GET", KEY_PATH, address.authority)
            self._effects.append(address.open(self._key_link))
        if control_key is not None:
            self._channel.begin(control_key)
        self._effects.append(self._channel.open())

    @property
    def ready(self) -> bool:
        """Whether the server has proved that it has `control_key`."""
        return self._channel.ready

    @property
    def usable(self) -> bool:
        """Whether a request can be made now: one at a time, since each one may take the last stream."""
        return self.lost is None and self._channel.usable

    @property
    def has_spare(self) -> bool:
        """Whether the server would still take a request after the next one."""
        return self.usable and self._channel.room > 1

    @property
    def has_input(self) -> bool:
        """Whether `read` has something to do."""
        return self.lost is None and self._channel_lost is None and self._channel.has_input

    def asked(self, purpose: Purpose) -> int:
        """How many requests for that purpose have no answer yet."""
        return sum(exchange.purpose == purpose for exchange in self._exchanges.values())

    def owns(self, link: Link) -> bool:
        return link in (self._channel.link, self._key_link, None if self._portal is None else self._portal.link)

    def request(self, purpose: Purpose, method: str, path: str, body: bytes = b"") -> int:
        headers = (("content-type", "application/json"),) if body else ()
        stream = self._channel.request(method, path, body, headers)
        self._exchanges[stream] = Exchange(purpose, stream)
        if self._trace is not None:
            self._trace("asked", what=purpose, path=path.partition("?")[0])
        return stream

    def doubt(self, now: float) -> None:
        """The network has changed: the server must say something as soon as it needed to prove its key, about. One from
        which we read nothing now, because it has said so much, is not doubted."""
        if self.ready and not self._paused and self.heard_by == math.inf:
            if self._trace is not None:
                self._trace("asked for a sign of life", why="the network changed")
            self._channel.ping()
            self.heard_by = now + min(max(DOUBT_AT_LEAST, self._took), DOUBT_AT_MOST)

    def cancel(self, stream: int) -> None:
        """Cancel a request. An answer that is on its way through the owner is not wanted any more."""
        if self._exchanges.pop(stream, None) is not None:
            self._channel.cancel(stream)
        else:
            self._unwanted.add(stream)

    def wants(self, found: Exchange | Piece) -> bool:
        """Whether nobody has cancelled the request since its answer was given out."""
        stream = found.exchange.stream if isinstance(found, Piece) else found.stream
        return stream not in self._unwanted

    def receive(self, event: Event, now: float) -> list[Exchange | Piece]:
        """Take an event of our links. Returns the answers that are whole now, and pieces of the map poll's."""
        if self.lost is not None:
            return []
        if self._portal is not None:
            self._portal_event(self._portal, event)
            return []
        if event.link == self._key_link:
            if self._asking is not None:
                self._key_event(self._asking, event, now)
            return []
        match event:
            case Opened():
                self._channel.opened()
            case Received(data=data):
                self._channel.feed(data)
                self.heard_by = math.inf
                return self.read(now)
            case Full():
                self._channel.is_full, self.room_by = True, now + WRITE_TIMEOUT
            case Room():
                self._channel.is_full, self.room_by = False, math.inf
            case Closed(reason=reason):
                found = self.read(now)
                if self._awaits_key:
                    self._lose_channel(reason, *controlerrors.link_error(self._address, reason))
                else:
                    self._break(reason, now)
                return found
            case Accepted() | Computed() | Datagrams() | LookedUp():
                pass  # of listeners, and of the map's link
            case _:
                assert_never(event)
        return []

    def tick(self, now: float) -> None:
        if now >= self.ready_by and self._portal is not None:
            self._lose(self._portal.reason, self._portal.error, hopeless=True)
        elif now >= self.ready_by:
            self._lose("timeout", *controlerrors.link_error(self._address, "timeout"))
        elif now >= self.slow_at:
            self.slow_at, self.is_slow = math.inf, True
        elif now >= self.room_by:
            self._give_up("control does not read what it makes us answer")
        elif now >= self.heard_by:
            self._give_up("control has not answered since the network changed")
        elif now >= self.taken_by:
            self._give_up("control takes no requests")

    def look(self, now: float) -> None:
        """Note since when the server takes no request, although none is open. One that is open may take the place."""
        if not self._channel.ready or self._channel.usable or self._exchanges:
            self.taken_by = math.inf
        elif self.taken_by == math.inf:
            self.taken_by = now + READY_TIMEOUT

    def transmit(self, *, busy: bool = False) -> list[Effect]:
        """busy: whether the owner has not yet worked off what it was given; the link is paused then as well."""
        effects, self._effects = self._effects, []
        effects += self._channel.transmit()
        paused = busy or self._channel.is_full or self._channel.has_input
        if paused != self._paused and self.lost is None:
            self._paused = paused
            effects.append(Pause(self._channel.link) if paused else Resume(self._channel.link))
        if self._channel.fault:
            self._give_up(self._channel.fault)
        return effects

    def close(self) -> list[Effect]:
        """The effects that send what is left, and then close both links."""
        effects = self.transmit()
        self._close_key_link()
        if self._portal is not None:
            effects.append(Close(self._portal.link))
        return [*effects, *self.transmit(), Close(self._channel.link)]

    def _lose(
        self,
        reason: str,
        error: Error,
        hopeless: bool = False,
        answer: Response | None = None,
        *,
        is_garbled: bool = False,
    ) -> None:
        self.lost = self.lost or Lost(reason, error, hopeless, answer, is_garbled)

    def _break(self, reason: str, now: float) -> None:
        """A link has ended."""
        error, hopeless = controlerrors.link_error(self._address, reason)
        if may_be_portal(self._address, reason):
            self._portal = PortalQuestion(self._address, self._new_link("portal"), reason, error)
            self._effects.append(self._portal.open())
            self.ready_by, self.slow_at = now + TIMEOUT, math.inf
        else:
            self._lose(reason, error, hopeless)

    def _portal_event(self, portal: PortalQuestion, event: Event) -> None:
        """An event, of the question or of a link that has broken as well."""
        if event.link == portal.link:
            self._effects += portal.receive(event)
            if portal.is_answered:
                self._lose(portal.reason, portal.error, hopeless=True)

    def _lose_channel(self, reason: str, error: Error, hopeless: bool = False, answer: Response | None = None) -> None:
        """The channel is over. While /key may still name another key, that is awaited."""
        if self._awaits_key:
            self._channel_lost = self._channel_lost or Lost(reason, error, hopeless, answer)
        else:
            self._lose(reason, error, hopeless, answer)

    @property
    def _awaits_key(self) -> bool:
        """Whether a handshake has begun with a key that we trust, and the server may name another one."""
        return self.control_key is not None and self._asking is not None

    def _give_up(self, reason: str) -> None:
        self._lose(reason, controlerrors.unreachable(self._address, reason))

    # --- the server's key ---------------------------------------------------------------------------------------

    def _key_event(self, asking: Asking, event: Event, now: float) -> None:
        match event:
            case Opened(link):
                self._effects.append(Data(link, asking.sent))
            case Received(data=data):
                asking.feed(data)
                self._key_answer(asking)
            case Closed(reason=reason):
                self._key_link = None
                if reason == "eof":
                    asking.end()  # an answer may end with its connection
                    self._key_answer(asking)
                else:
                    self._break(reason, now)
            case Full() | Room():
                pass  # a request of one line
            case Accepted() | Computed() | Datagrams() | LookedUp():
                pass  # of listeners, and of the map's link
            case _:
                assert_never(event)

    def _key_answer(self, asking: Asking) -> None:
        try:
            response = asking.go_on()
            if response is None:
                return
            if response.status != 200:
                error, hopeless = controlerrors.answer_error(self._address, "GET /key", response)
                self._lose(f"/key: HTTP status {response.status}", error, hopeless, response)
                return
        except MalformedError as malformed:
            if self._key_link is None:
                self._lose("eof", *controlerrors.link_error(self._address, "eof"))
            else:
                self._lose_a_stranger(f"its answer to GET /key is none ({malformed})")
            return
        try:
            public = ControlKeys.decode(response.body).public
        except MalformedError as malformed:
            if self._key_link is None and not controlerrors.is_page(response):  # it may have been cut off
                self._lose("eof", *controlerrors.link_error(self._address, "eof"))
                return
            error = controlerrors.no_key(self._address, response, str(malformed))
            self._lose("/key: no key", error, hopeless=True, is_garbled=not controlerrors.is_page(response))
            return
        if "age" not in response.headers:  # it comes from a cache
            self.date = http_date(response.headers.get("date", ""))
        self._close_key_link()
        self._judge(public)

    def _lose_a_stranger(self, detail: str) -> None:
        error = controlerrors.not_control(self._address, detail)
        self._lose("not a control server", error, hopeless=True, is_garbled=True)

    def _judge(self, public: MachineKey) -> None:
        self._asking = None
        objection = self._objection(public)
        if objection is not None:
            self._lose(*objection, hopeless=True)
            return
        if self._trace is not None:
            self._trace("server key", key=public)
        before, self.control_key = self.control_key, public
        if before is None:
            self._channel.begin(public)
        elif before != public:
            self._effects.append(Close(self._channel.link))
            self._channel, self._channel_lost, self._paused = self._new_channel(), None, False
            self._channel.begin(public)
            self._effects.append(self._channel.open())
        else:
            self.lost = self.lost or self._channel_lost

    def _close_key_link(self) -> None:
        if self._key_link is not None:
            self._effects.append(Close(self._key_link))
            self._key_link = None

    # --- the channel --------------------------------------------------------------------------------------------

    def read(self, now: float) -> list[Exchange | Piece]:
        """Take apart what has come, as far as the work of one turn goes."""
        if not self.has_input:
            return []
        try:
            events = self._channel.receive(b"", now, Work(TURN))
        except Refused as refused:
            error, hopeless = controlerrors.answer_error(self._address, "the ts2021 upgrade", refused.response)
            self._lose_channel(str(refused), error, hopeless, refused.response)
            return []
        except Flood as flood:
            self.flood = str(flood)
            self._lose(self.flood, controlerrors.unreachable(self._address, f"it sends a {flood}"))
            return []
        except SpokeFirst as greeting:
            self._lose_a_stranger(str(greeting))
            return []
        except MalformedError as malformed:
            reason = str(malformed)
            self._lose_channel(reason, controlerrors.unreachable(self._address, reason))
            return []
        if self._channel.ready and self.ready_by < math.inf:
            self.ready_by, self.slow_at, self._took = math.inf, math.inf, now - self._begun
            self.is_slow = False
            self._asking = None  # it has proved the key that we trust
            self._close_key_link()
            if self._trace is not None:
                self._trace("channel ready", after=self._took)
        if self._channel.fault:
            self._give_up(self._channel.fault)
        elif self._channel.ended:
            self._lose(
                "control ends the connection", controlerrors.unreachable(self._address, "it ends the connection")
            )
        return [found for event in events if (found := self._http_event(event)) is not None]

    def _http_event(self, event: HttpEvent) -> Exchange | Piece | None:
        exchange = self._exchanges.get(event.stream)
        if exchange is None:
            return None
        if isinstance(event, Head):
            exchange.status, exchange.headers = event.status, event.headers
        elif isinstance(event, Body):
            if exchange.purpose == "poll" and exchange.status == 200:
                return Piece(exchange, event.data)
            if exchange.purpose == "request" and len(exchange.body) + len(event.data) > MAX_ANSWER:
                exchange.is_too_long = True
                del self._exchanges[event.stream]
                self._channel.cancel(event.stream)
                return exchange
            if exchange.purpose != "ping" and len(exchange.body) < MAX_ANSWER:  # nobody reads the answer to a ping
                exchange.body += event.data
        else:
            del self._exchanges[event.stream]
            if isinstance(event, Reset):
                exchange.status = 0
            if self._trace is not None and exchange.purpose != "poll":  # whoever polls says why that has ended
                self._trace("answered", what=exchange.purpose, status=exchange.status or "broken off")
            return exchange
        return None
