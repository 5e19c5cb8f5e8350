"""One ts2021 connection to control: a link, its upgrade, Noise, HTTP/2 inside.

    Open -> Opened -> (server key known) -> upgrade request -> 101 -> Noise -> early payload -> HTTP/2

`receive` raises Refused for an HTTP answer that is no upgrade, MalformedError for bytes that cannot be ts2021; the
channel is dead then and its owner closes the link.

Source: Go control/controlhttp/client.go, control/ts2021/client.go.
Not here: when to connect, and what to ask (`client`).
"""

from __future__ import annotations

from collections.abc import Callable

from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import Data, Link, Open
from tsnet.base.malformed import MalformedError
from tsnet.control.address import ControlAddress
from tsnet.control.http import Body, End, Head, HttpClient, Reset
from tsnet.control.messages import CAPABILITY_VERSION
from tsnet.control.transport import Initiator
from tsnet.control.upgrade import Asking, Response, switched, upgrade_request

HttpEvent = Head | Body | End | Reset


class Refused(Exception):
    """The server answered the upgrade, but not with 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP status {response.status}")
        self.response = response


class Channel:
    """`ready` once requests can be made."""

    def __init__(
        self, link: Link, address: ControlAddress, private: MachinePrivateKey, entropy: Callable[[int], bytes]
    ) -> None:
        self.link = link
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
    def ended(self) -> bool:
        """The server has said that it will answer nothing more here."""
        return self._http is not None and self._http.ended

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

    def cancel(self, stream: int) -> None:
        if self._http is not None:
            self._http.cancel(stream)

    def receive(self, data: bytes) -> list[HttpEvent]:
        if self._noise is None:
            raise MalformedError("control spoke before it was asked")
        if self._asking is not None:
            response = self._asking.receive(data)
            if response is None:
                return []
            if not switched(response):
                raise Refused(response)
            self._asking, data = None, response.rest
        plaintext = self._noise.receive(data)
        if self._http is None and self._noise.established:
            self._http = HttpClient(self._address.authority)
        return self._http.receive(plaintext) if self._http is not None and plaintext else []

    def transmit(self) -> list[Data]:
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
