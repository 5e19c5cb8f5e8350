"""One ts2021 connection to control: a link, its upgrade, Noise, HTTP/2 inside.

    Open -> Opened -> (server key known) -> upgrade request -> 101 -> Noise -> early payload -> HTTP/2

`feed` keeps what has come, and `receive` takes apart as much of it as the turn's work allows. A channel whose link is
full is not read: what a server makes us answer is bounded by what it takes.

`receive` raises Refused for an HTTP answer that is no upgrade, SpokeFirst and any other MalformedError for
bytes that cannot be ts2021; the channel is dead then and its owner closes the link.

Source: Go control/controlhttp/client.go, control/ts2021/client.go.
Not here: when to connect, and what to ask (`client`).
"""

from __future__ import annotations

from collections.abc import Callable

from tsnet.base.allowance import Allowance
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import Data, Link, Open
from tsnet.base.malformed import MalformedError
from tsnet.base.printable import printable
from tsnet.base.work import UNLIMITED, Work
from tsnet.control.client.address import ControlAddress
from tsnet.control.http import Body, End, Head, HttpClient, Reset
from tsnet.control.messages import CAPABILITY_VERSION
from tsnet.control.transport import Initiator
from tsnet.control.upgrade import switched, upgrade_request
from tsnet.http1.asking import Asking, Response

HttpEvent = Head | Body | End | Reset


class Refused(Exception):
    """The server answered the upgrade, but not with 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP status {response.status}")
        self.response = response


class SpokeFirst(MalformedError):
    """What no HTTP server does: those of SSH, mail and others greet whoever connects."""


class Channel:
    """`ready` once requests can be made. is_full: the edge has no room for the link."""

    def __init__(
        self,
        link: Link,
        address: ControlAddress,
        private: MachinePrivateKey,
        entropy: Callable[[int], bytes],
        now: float = 0.0,
    ) -> None:
        self.link = link
        self.is_full = False
        self._allowance = Allowance(now)
        self._in = bytearray()
        self._empty = 0
        self._address, self._private, self._entropy = address, private, entropy
        self._control: MachineKey | None = None
        self._opened = False
        self._asking: Asking | None = None
        self._noise: Initiator | None = None
        self._http: HttpClient | None = None
        self._out = bytearray()

    @property
    def ready(self) -> bool:
        return self._http is not None

    @property
    def usable(self) -> bool:
        """Ready, and the server takes another request."""
        return self._http is not None and self._http.usable

    @property
    def room(self) -> int:
        """How many requests the server takes now."""
        return 0 if self._http is None else self._http.room

    @property
    def ended(self) -> bool:
        """Nothing more will be answered here: the server has said so, or there is a `fault`."""
        return self._http is not None and self._http.ended

    @property
    def fault(self) -> str:
        """Why we have ended it ourselves."""
        return "" if self._http is None else self._http.fault

    @property
    def has_input(self) -> bool:
        """Whether `receive` has something to do."""
        if self.ended or self.is_full:
            return False
        if self._noise is None or self._asking is not None:
            return bool(self._in)
        return bool(self._in) or self._noise.has_input or (self._http is not None and self._http.has_input)

    def open(self) -> Open:
        return self._address.open(self.link)

    def opened(self) -> None:
        self._opened = True
        self._upgrade()

    def begin(self, control: MachineKey) -> None:
        """The server's key is known: the handshake may go out as soon as the link is open."""
        self._control = control
        self._upgrade()

    def request(self, method: str, path: str, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> int:
        assert self._http is not None, "request on a channel that is not ready"
        return self._http.request(method, path, body, headers)

    def ping(self) -> None:
        if self._http is not None:
            self._http.ping()

    def cancel(self, stream: int) -> None:
        if self._http is not None:
            self._http.cancel(stream)

    def feed(self, data: bytes) -> None:
        self._in += data

    def receive(self, data: bytes = b"", now: float = 0.0, work: Work | None = None) -> list[HttpEvent]:
        self.feed(data)
        work = work or Work(UNLIMITED)
        if self._noise is None:
            raise SpokeFirst(f"it speaks before it is asked: {printable(self._take_in()[:40].decode('latin-1'))!r}")
        if self._asking is not None and not self._switch(self._asking):
            return []
        plaintext = b"" if self._http is not None and self._http.has_input else self._decrypt(self._noise, now, work)
        if self._http is None and self._noise.established:
            self._http = HttpClient(self._address.authority, self._allowance)
        return self._http.receive(plaintext, now, work) if self._http is not None else []

    def _switch(self, asking: Asking) -> bool:
        """Whether the server has agreed to ts2021; what is behind its answer stays for later."""
        response = asking.receive(self._take_in())
        if response is None:
            return False
        if not switched(response):
            raise Refused(response)
        self._asking = None
        self.feed(response.rest)
        return True

    def _decrypt(self, noise: Initiator, now: float, work: Work) -> bytes:
        plaintext = noise.receive(self._take_in(), work)
        for _ in range(noise.empty_records - self._empty):
            self._allowance.spend("empty records", now)
        self._empty = noise.empty_records
        return plaintext

    def _take_in(self) -> bytes:
        data, self._in = bytes(self._in), bytearray()
        return data

    def transmit(self) -> list[Data]:
        if self.is_full:
            return []
        if self._http is not None and self._noise is not None:
            self._out += self._noise.seal(self._http.transmit())
        if not self._out:
            return []
        data = bytes(self._out)
        self._out.clear()
        return [Data(self.link, data)]

    def _upgrade(self) -> None:
        if not self._opened or self._control is None or self._noise is not None:
            return
        self._noise = Initiator(self._private, self._control, CAPABILITY_VERSION, self._entropy)
        self._asking = upgrade_request(self._address.authority, self._noise.initiation)
        self._out += self._asking.sent
