"""One mapping asked for by UPnP: the calls over HTTP, one after the other, and what they come to.

    description ─► services, best first ─► each: its external address ─► of use? ─► AddPortMapping ─► a Grant
                                                                      └► else the next service

| the router says, to adding              | what follows, once each                               |
|-----------------------------------------|-------------------------------------------------------|
| 402, 725: only for ever                 | asked for ever; renewed all the same, and deleted     |
| 718: the external port is taken         | another random port                                   |
| 401: no such action (AddAnyPortMapping) | AddPortMapping                                        |

A mapping that the router may have made without an answer is deleted, unless it was there before.

No redirect is followed, and nothing but the router's own address is ever called: not what SSDP says, nor what the
description says. Each answer is bounded in size and time; the whole has as much time as its owner gives it.

Source: UPnP WANIPConnection:2 §2.5; Go net/portmapper/upnp.go.
Not here: SSDP (`ssdp`), the bytes (`igd`, `soap`).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address

from tsnet.base.addresses import UdpAddress, parse_port
from tsnet.base.malformed import MalformedError
from tsnet.http1.answers import Answer, Failed
from tsnet.http1.client import Http1Client
from tsnet.http1.url import Url
from tsnet.portmap import soap
from tsnet.portmap.elements import MAX_SIZE
from tsnet.portmap.external import why_unusable
from tsnet.portmap.igd import WanService, decode_description
from tsnet.portmap.lease import LEASE, Denial, Outcome, Place, Protocol, judged

TIMEOUT = 2.0
"""Seconds for one call. The router is one hop away."""

MAX_ADDS = 4


class UpnpAsk:
    """location: of the description; or service: the one that made the mapping before. suggested: 0 for any port."""

    protocol = Protocol.UPNP

    __slots__ = (
        *("_adds", "_address", "_any_port", "_call", "_entropy", "_http", "_lifetime", "_location", "_place"),
        *("_port", "_services", "_ticket", "is_made", "outcome"),
    )

    def __init__(
        self,
        place: Place,
        http: Http1Client,
        entropy: Callable[[int], bytes],
        *,
        location: Url | None = None,
        service: WanService | None = None,
        suggested: int = 0,
    ) -> None:
        self.outcome: Outcome | None = None
        self.is_made: bool = False
        self._place, self._http, self._entropy, self._location = place, http, entropy, location
        self._services = [service] if service is not None else []
        self._port = suggested if suggested >= soap.LEAST_PORT else self._random_port()
        self._address: IPv4Address | None = None
        self._call: soap.Call | None = None
        self._ticket, self._adds = 0, 0
        self._lifetime, self._any_port = LEASE, True

    def again(self, external: UdpAddress) -> UpnpAsk:
        return UpnpAsk(self._place, self._http, self._entropy, service=self._services[0], suggested=external.port)

    def begin(self, now: float) -> None:
        if self._location is None:
            self._ask_address(now)
        else:
            self._ticket = self._http.request(
                "GET", str(self._location), now=now, timeout=TIMEOUT, max_body=MAX_SIZE, max_redirects=0, direct=True
            )

    def release(self, now: float) -> None:
        """Delete the mapping. The answer does not matter, and `cancel` lets the call go on."""
        self._send(soap.delete_mapping(self._services[0].kind, self._port), now)
        self._ticket = 0

    def cancel(self, now: float) -> None:
        """Its time is up."""
        self._http.cancel(self._ticket)
        if self.outcome is None:
            self._delete_what_may_be_made(now)

    def take(self, answer: Answer | Failed, now: float) -> bool:
        """Whether the answer belongs to this ask."""
        if answer.ticket != self._ticket or self.outcome is not None:
            return False
        try:
            if isinstance(answer, Failed):
                self._delete_what_may_be_made(now)
                self._failed(Denial(f"HTTP: {answer.reason}", is_silence=True), now)
            else:
                self._read(answer, now)
        except soap.SoapFault as fault:
            self._refused(fault, now)
        except MalformedError as error:
            self._failed(Denial(str(error)), now)
        return True

    # --- the steps ------------------------------------------------------------------------------------------

    def _read(self, answer: Answer, now: float) -> None:
        """Raises MalformedError."""
        if self._call is None:
            if answer.status != 200 or self._location is None:
                raise MalformedError(f"status {answer.status} instead of a description")
            self._services = decode_description(answer.body, self._location)
            self._ask_address(now)
            return
        results = soap.decode_result(answer.status, answer.body, self._call.action)
        if self._address is None:
            self._take_address(results.get("NewExternalIPAddress", ""))
            self._add(now)
        else:
            self._added(results.get("NewReservedPort", str(self._port)))

    def _ask_address(self, now: float) -> None:
        self._address = None
        self._send(soap.external_address(self._services[0].kind), now)

    def _take_address(self, text: str) -> None:
        """Raises MalformedError."""
        try:
            address = IPv4Address(text)
        except AddressValueError:
            raise MalformedError("no external address") from None
        if why := why_unusable(address, self._port):
            raise MalformedError(why)
        self._address = address

    def _add(self, now: float) -> None:
        self._adds += 1
        if self._adds > MAX_ADDS:
            raise MalformedError("too many tries")
        kind, any_port = self._services[0].kind, self._any_port and self._services[0].chooses_port
        own, port = str(self._place.own), self._place.port
        self._send(soap.add_mapping(kind, self._port, port, own, self._lifetime, any_port=any_port), now)

    def _added(self, text: str) -> None:
        """Raises MalformedError."""
        port = parse_port(text)
        if not port or self._address is None:
            raise MalformedError("external port 0")
        self._port, self.is_made = port, True
        self.outcome = judged(UdpAddress(str(self._address), port), LEASE)

    def _refused(self, fault: soap.SoapFault, now: float) -> None:
        """What the table above says; anything else is a failure."""
        adding = self._call is not None and self._call.action.startswith("Add")
        if adding and fault.code in (soap.INVALID_ARGS, soap.ONLY_PERMANENT) and self._lifetime:
            self._lifetime = 0
        elif adding and fault.code == soap.CONFLICT:
            self._port = self._random_port()
        elif adding and fault.code == soap.INVALID_ACTION and self._any_port:
            self._any_port = False
        else:
            self._failed(Denial(str(fault)), now)
            return
        try:
            self._add(now)
        except MalformedError as error:
            self._failed(Denial(str(error)), now)

    def _failed(self, denial: Denial, now: float) -> None:
        """Try the next service, if there is one."""
        del self._services[:1]
        if self._services:
            self._ask_address(now)
        else:
            self.outcome = denial

    def _delete_what_may_be_made(self, now: float) -> None:
        """The router was asked to map a port and has not answered: it may have done so. A renewal deletes nothing."""
        if self._location is not None and self._call is not None and self._call.action.startswith("Add"):
            self.release(now)

    def _send(self, call: soap.Call, now: float) -> None:
        self._call = call
        self._ticket = self._http.request(
            "POST",
            self._services[0].url,
            now=now,
            headers=call.headers,
            body=call.encode(),
            timeout=TIMEOUT,
            max_body=soap.MAX_REPLY,
            max_redirects=0,
            direct=True,
        )

    def _random_port(self) -> int:
        return soap.LEAST_PORT + int.from_bytes(self._entropy(4), "big") % (65_536 - soap.LEAST_PORT)
