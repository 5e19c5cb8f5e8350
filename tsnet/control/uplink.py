"""One connection to control: the server's key, a channel, and the requests on that channel.

    key link    Open ── GET /key ── 200 ── close        not when the key is known already
    noise link  Open ───────────────────── upgrade ──── requests and answers

Both links open at once, so that a join costs one round trip less. The key link's certificate identifies the server. A
key other than the one we trust is accepted only if that certificate was verified; otherwise no byte of a handshake
goes to its owner. Whatever breaks the connection sets `lost`, with the error that an application would see.

Source: Go control/controlclient/direct.go loadServerPubKeys, control/ts2021/client.go.
Not here: what is asked, and when to connect again (`client`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import attrs

from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import Close, Closed, Data, Effect, Event, Link, Opened, Received
from tsnet.base.malformed import MalformedError
from tsnet.control import remedies
from tsnet.control.address import ControlAddress
from tsnet.control.channel import Channel, HttpEvent, Refused
from tsnet.control.http import Body, Head, Reset
from tsnet.control.messages import KEY_PATH, ControlKeys
from tsnet.control.upgrade import Asking, Response
from tsnet.errors import Error

READY_TIMEOUT = 15.0
MAX_ANSWER = 1 << 20

Purpose = Literal["register", "recheck", "logout", "poll", "publish", "ping"]


@attrs.frozen
class Lost:
    """hopeless: whether waiting cannot help, as far as this connection could see. answer: the HTTP answer behind it."""

    reason: str
    error: Error
    hopeless: bool = False
    answer: Response | None = None


@attrs.define
class Exchange:
    """A request, and its answer so far. status: 0 if the server broke the answer off."""

    purpose: Purpose
    stream: int
    status: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytearray = attrs.field(factory=bytearray, repr=False)

    @property
    def text(self) -> str:
        """The start of an error's body, made printable."""
        text = bytes(self.body[:200]).decode("utf-8", "replace").strip()
        return "".join(char if char.isprintable() else " " for char in text)


@attrs.frozen
class Piece:
    """A piece of the map poll's answer, which streams once its status is 200."""

    exchange: Exchange
    data: bytes = attrs.field(repr=False)


class Uplink:
    """lost: set once, when the connection is of no more use. control_key: the server's key, once known.

    If control_key is given, the server is not asked for it. objection: why not to trust the key that it names, or None
    (`ServerKey.objection`).
    """

    def __init__(
        self,
        address: ControlAddress,
        private: MachinePrivateKey,
        *,
        control_key: MachineKey | None,
        objection: Callable[[MachineKey], tuple[str, Error] | None],
        new_link: Callable[[str], Link],
        entropy: Callable[[int], bytes],
        now: float,
    ) -> None:
        self.lost: Lost | None = None
        self.control_key = control_key
        self.ready_by = now + READY_TIMEOUT
        self._address = address
        self._objection = objection
        self._effects: list[Effect] = []
        self._exchanges: dict[int, Exchange] = {}
        self._channel = Channel(new_link("noise"), address, private, entropy)
        self._asking = Asking("GET", KEY_PATH, address.authority)
        self._key_link: Link | None = None
        if control_key is None:
            self._key_link = new_link("key")
            self._effects.append(address.open(self._key_link))
        else:
            self._channel.begin(control_key)
        self._effects.append(self._channel.open())

    @property
    def ready(self) -> bool:
        """Whether the server has proved that it has `control_key`."""
        return self._channel.ready

    @property
    def usable(self) -> bool:
        """Whether a request can be made now."""
        return self.lost is None and self._channel.usable

    def owns(self, link: Link) -> bool:
        return link in (self._channel.link, self._key_link)

    def request(self, purpose: Purpose, method: str, path: str, body: bytes = b"") -> int:
        headers = (("content-type", "application/json"),) if body else ()
        stream = self._channel.request(method, path, body, headers)
        self._exchanges[stream] = Exchange(purpose, stream)
        return stream

    def cancel(self, stream: int) -> None:
        """Cancel a request; no answer to it will come."""
        if self._exchanges.pop(stream, None) is not None:
            self._channel.cancel(stream)

    def receive(self, event: Event) -> list[Exchange | Piece]:
        """Take an event of our links. Returns the answers that are whole now, and pieces of the map poll's."""
        if self.lost is not None:
            return []
        if event.link == self._key_link:
            self._key_event(event)
        elif isinstance(event, Opened):
            self._channel.opened()
        elif isinstance(event, Received):
            return self._channel_bytes(event.data)
        elif isinstance(event, Closed):
            self._lose(event.reason, *remedies.link_error(self._address, event.reason))
        return []

    def tick(self, now: float) -> None:
        if now >= self.ready_by:
            self._lose("timeout", *remedies.link_error(self._address, "timeout"))

    def transmit(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects + self._channel.transmit()

    def close(self) -> list[Effect]:
        """The effects that send what is left, and then close both links."""
        effects = self.transmit()
        self._close_key_link()
        return [*effects, *self.transmit(), Close(self._channel.link)]

    def _lose(self, reason: str, error: Error, hopeless: bool = False, answer: Response | None = None) -> None:
        self.lost = self.lost or Lost(reason, error, hopeless, answer)

    # --- the server's key ---------------------------------------------------------------------------------------

    def _key_event(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._effects.append(Data(event.link, self._asking.sent))
        elif isinstance(event, Received):
            self._key_bytes(event.data)
        elif isinstance(event, Closed):
            self._key_link = None
            if event.reason == "eof":
                self._key_bytes(b"")  # an answer may end with its connection
            else:
                self._lose(event.reason, *remedies.link_error(self._address, event.reason))

    def _key_bytes(self, data: bytes) -> None:
        try:
            response = self._asking.receive(data)
            if response is None:
                return
            if response.status != 200:
                error, hopeless = remedies.answer_error(self._address, "GET /key", response)
                self._lose(f"/key: HTTP status {response.status}", error, hopeless, response)
                return
            public = ControlKeys.decode(response.body).public
        except MalformedError as malformed:
            if not data:
                self._lose("eof", *remedies.link_error(self._address, "eof"))
                return
            detail = f"its answer to GET /key is no server key ({malformed})"
            self._lose("/key: not a control server", remedies.not_control(self._address, detail), hopeless=True)
            return
        self._close_key_link()
        self._judge(public)

    def _judge(self, public: MachineKey) -> None:
        objection = self._objection(public)
        if objection is not None:
            self._lose(*objection, hopeless=True)
        else:
            self.control_key = public
            self._channel.begin(public)

    def _close_key_link(self) -> None:
        if self._key_link is not None:
            self._effects.append(Close(self._key_link))
            self._key_link = None

    # --- the channel --------------------------------------------------------------------------------------------

    def _channel_bytes(self, data: bytes) -> list[Exchange | Piece]:
        try:
            events = self._channel.receive(data)
        except Refused as refused:
            error, hopeless = remedies.answer_error(self._address, "the ts2021 upgrade", refused.response)
            self._lose(str(refused), error, hopeless, refused.response)
            return []
        except MalformedError as malformed:
            self._lose(str(malformed), remedies.unreachable(self._address, str(malformed)))
            return []
        if self._channel.ready:
            self.ready_by = math.inf
        if self._channel.ended:
            self._lose("control ends the connection", remedies.unreachable(self._address, "it ends the connection"))
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
            if len(exchange.body) < MAX_ANSWER:
                exchange.body += event.data
        else:
            del self._exchanges[event.stream]
            if isinstance(event, Reset):
                exchange.status = 0
            return exchange
        return None
