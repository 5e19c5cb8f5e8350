"""A certificate at control's address was refused: perhaps a login page of this network answers there.

    GET http://<control's host>/generate_204    in the clear, around a proxy, and with nothing of ours in it
    511, a redirect to another host, a page     ─► CaptivePortal, which says what the page is
    anything else, or nothing in time           ─► the error of the certificate stands

A portal can only answer an https:// URL with a certificate of its own, so that it looks like any other stranger. In the
clear it shows itself. A control server answers such a question with 204, a redirect to its own https:// URL, or not at
all. A certificate that is out of date is none of a portal's doing, and this machine has none in front of it.

Source: Go net/captivedetection/endpoints.go, which asks Tailscale's control in the same way.
Not here: relays, which are asked once their addresses are known (`netcheck.captive`).
"""

from __future__ import annotations

from typing import assert_never

from tsnet.base.credentials import is_loopback
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
    Open,
    Opened,
    Received,
    Room,
)
from tsnet.base.malformed import MalformedError
from tsnet.control.client import controlerrors
from tsnet.control.client.address import ControlAddress
from tsnet.errors import CaptivePortal, Error
from tsnet.http1.asking import Asking, Response

PATH = "/generate_204"
TIMEOUT = 2.0
_OF_STRANGERS = ("certificate: unknown authority", "certificate: self-signed", "certificate: wrong name")


def may_be_portal(address: ControlAddress, reason: str) -> bool:
    """Whether to ask, after a link that ended for this reason."""
    return address.secure and reason.startswith(_OF_STRANGERS) and not is_loopback(address.host)


class PortalQuestion:
    """error: what is to be told, by what has come so far. is_answered: nothing more comes."""

    def __init__(self, address: ControlAddress, link: Link, reason: str, error: Error) -> None:
        self.link: Link = link
        self.error: Error = error
        self.is_answered: bool = False
        self.reason: str = reason
        self._address = address
        self._asking = Asking("GET", PATH, address.host if ":" not in address.host else f"[{address.host}]")

    def open(self) -> Open:
        return Open(self.link, (self._address.host,), 80, timeout=TIMEOUT, direct=True)

    def receive(self, event: Event) -> list[Effect]:
        match event:
            case Opened():
                return [Data(self.link, self._asking.sent)]
            case Received(data=data):
                self._asking.feed(data)
                self._look()
                return [Close(self.link)] if self.is_answered else []
            case Closed():
                self._asking.end()
                self._look()
                self.is_answered = True
            case Full() | Room():
                pass  # a request of one line
            case Accepted() | Computed() | Datagrams() | LookedUp():
                pass  # of listeners, and of other links
            case _:
                assert_never(event)
        return []

    def _look(self) -> None:
        try:
            response = self._asking.go_on()
        except MalformedError:
            self.is_answered = True
            return
        if response is not None:
            self.is_answered = True
            self.error = self._judged(response)

    def _judged(self, response: Response) -> Error:
        what = f"GET http://{self._address.host}{PATH}"
        found = controlerrors.answer_error(self._address, what, response)[0]
        if not isinstance(found, CaptivePortal):
            return self.error
        verdict = self.reason.partition(": ")[2]
        said = controlerrors.page_of(what, response)
        return controlerrors.captive(self._address, f"{said}, and its certificate does not verify: {verdict}")
