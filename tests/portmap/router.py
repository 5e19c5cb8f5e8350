"""A router that maps ports, for tests: it answers effects of a mapper with events, and can be told to misbehave.

router = Router()
told = run(mapper, router, clock, until=…)     # deadline by deadline, no time between question and answer
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import h11

from tests.clock import Clock
from tsnet.base.addresses import UdpAddress
from tsnet.base.links import Close, Closed, Data, Datagrams, Effect, Event, Link, Open, Opened, OpenUdp, Received
from tsnet.portmap import natpmp, pcp, ssdp
from tsnet.portmap.facts import Fact
from tsnet.portmap.lease import Place
from tsnet.portmap.mapper import Mapper

GATEWAY, OWN = IPv4Address("192.168.7.1"), IPv4Address("192.168.7.20")
OUTSIDE = IPv4Address("203.0.113.5")
PLACE = Place(GATEWAY, OWN, 41641)
HTTP_PORT = 5000
KIND = "urn:schemas-upnp-org:service:WANIPConnection:2"

DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:2</deviceType><friendlyName>Box</friendlyName>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
<controlURL>/ctl/L3F</controlURL></service></serviceList>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>{KIND}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>/WANIPCn.xml</SCPDURL><controlURL>/ctl/IPConn</controlURL><eventSubURL>/evt/IPConn</eventSubURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>
"""


def soap_answer(action: str, **results: object) -> str:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in results.items())
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f'<u:{action}Response xmlns:u="{KIND}">{inner}</u:{action}Response></s:Body></s:Envelope>'
    )


def soap_fault(code: int) -> str:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client'
        '</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
        f"<errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
        "</s:Body></s:Envelope>"
    )


class Router:
    """speaks: of "pmp pcp upnp". mappings: external port by (protocol, internal port). asked: what it was asked.

    outside: its external address. lifetime: of a lease, at most. tamper: changes each UDP reply before it leaves;
    more: what it sends besides. pages: answers over HTTP by path or action, instead of its own ones.
    """

    def __init__(self, speaks: str = "pmp pcp", *, outside: str = str(OUTSIDE), lifetime: int = 7200) -> None:
        self.speaks = speaks.split()
        self.outside, self.lifetime = outside, lifetime
        self.mappings: dict[tuple[str, int], int] = {}
        self.nonces: dict[int, bytes] = {}
        self.asked: list[str] = []
        self.sent = self.received = 0
        self.began_at = 0.0
        self.refuses: dict[str, int] = {}
        self.taken: set[int] = set()
        self.is_silent = False
        self.tamper: Callable[[bytes], bytes] = lambda reply: reply
        self.source = UdpAddress(str(GATEWAY), natpmp.PORT)
        self.location = f"http://{GATEWAY}:{HTTP_PORT}/rootDesc.xml"
        self.pages: dict[str, bytes | tuple[int, bytes]] = {}
        self.dialled: list[tuple[str, int]] = []
        self.open: set[Link] = set()
        self._https: dict[Link, h11.Connection] = {}

    def restart(self, now: float) -> None:
        self.mappings.clear()
        self.nonces.clear()
        self.began_at = now

    def take(self, effect: Effect, now: float) -> list[Event]:
        """What comes of an effect."""
        match effect:
            case OpenUdp(link):
                self.open.add(link)
                return [Opened(link, local_port=50_000)]
            case Datagrams(link, address, datagrams):
                assert address.host == str(GATEWAY), "it talks to the router only"
                assert link in self.open
                self.received += sum(map(len, datagrams))
                return [event for datagram in datagrams for event in self._answer(link, address.port, datagram, now)]
            case Open(link, hosts, port):
                self.dialled.append((hosts[0], port))
                if f":{port}/" not in self.location:
                    return [Closed(link, "refused")]
                self.open.add(link)
                self._https[link] = h11.Connection(h11.SERVER)
                return [Opened(link)]
            case Data(link, data):
                return [] if self.is_silent else list(self._http(link, data))
            case Close(link):
                self.open.discard(link)
        return []

    def _answer(self, link: Link, port: int, datagram: bytes, now: float) -> list[Event]:
        if self.is_silent:
            return []
        if port == ssdp.PORT:
            replies = self._ssdp(datagram) if "upnp" in self.speaks else []
            source = UdpAddress(self.source.host, ssdp.PORT)
        else:
            epoch = int(now - self.began_at)
            replies = self._pmp(datagram, epoch) if datagram[0] == 0 else self._pcp(datagram, epoch)
            source = self.source
        replies = [self.tamper(reply) for reply in replies]
        self.sent += sum(map(len, replies))
        return [Datagrams(link, source, replies)] if replies else []

    def _pmp(self, datagram: bytes, epoch: int) -> list[bytes]:
        asked = natpmp.decode_request(datagram)
        self.asked.append("pmp address" if asked is None else f"pmp map {asked}")
        if "pmp" not in self.speaks:
            return []
        if "pmp" in self.refuses:
            operation = natpmp.ADDRESS if asked is None else natpmp.MAP_UDP
            return [natpmp.encode_reply(natpmp.PmpRefused(epoch, operation, self.refuses["pmp"]))]
        if asked is None:
            return [natpmp.encode_reply(natpmp.PmpAddress(epoch, IPv4Address(self.outside)))]
        internal, suggested, lifetime = asked
        external = self._map("pmp", internal, suggested, lifetime)
        return [natpmp.encode_reply(natpmp.PmpMapped(epoch, internal, external, min(lifetime, self.lifetime)))]

    def _pcp(self, datagram: bytes, epoch: int) -> list[bytes]:
        asked = pcp.decode_request(datagram)
        self.asked.append("pcp announce" if asked is None else f"pcp map {asked.suggested} {asked.lifetime}")
        if "pcp" not in self.speaks:
            return []
        if "pcp" in self.refuses:
            refused = (pcp.ANNOUNCE, b"") if asked is None else (pcp.MAP, asked.nonce)
            reply = pcp.PcpRefused(epoch, refused[0], self.refuses["pcp"], 1800, refused[1])
            return [pcp.encode_reply(reply)]
        if asked is None:
            return [pcp.encode_reply(pcp.PcpAnnounced(epoch))]
        if self.nonces.setdefault(asked.internal, asked.nonce) != asked.nonce:
            return [pcp.encode_reply(pcp.PcpRefused(epoch, pcp.MAP, pcp.NOT_AUTHORISED, 1800, asked.nonce))]
        external = self._map("pcp", asked.internal, asked.suggested, asked.lifetime)
        if not asked.lifetime:
            del self.nonces[asked.internal]
        lifetime = min(asked.lifetime, self.lifetime)
        outside = IPv4Address(self.outside)
        return [
            pcp.encode_reply(pcp.PcpMapped(epoch, asked.nonce, pcp.UDP, asked.internal, external, outside, lifetime))
        ]

    def _map(self, protocol: str, internal: int, suggested: int, lifetime: int) -> int:
        if not lifetime:
            self.mappings.pop((protocol, internal), None)
            return 0
        external = self.mappings.get((protocol, internal)) or suggested or 6000 + len(self.mappings)
        self.mappings[protocol, internal] = external
        return external

    def _ssdp(self, datagram: bytes) -> list[bytes]:
        target = ssdp.decode_search(datagram)
        self.asked.append(f"ssdp {target}")
        lines = ["HTTP/1.1 200 OK", "CACHE-CONTROL: max-age=120", f"ST: {ssdp.GATEWAY}", f"USN: x::{ssdp.GATEWAY}"]
        return ["\r\n".join([*lines, "SERVER: Box UPnP/1.1", f"LOCATION: {self.location}", "", ""]).encode()]

    def _http(self, link: Link, data: bytes) -> Iterator[Event]:
        connection = self._https[link]
        connection.receive_data(data)
        request, body = None, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage | type(h11.NEED_DATA)):
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        assert isinstance(request, h11.Request)
        action = dict(request.headers).get(b"soapaction", b"").decode().strip('"').rpartition("#")[2]
        status, page = self._page(request.target.decode(), action, body.decode())
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n".encode()
        self.sent += len(page)
        yield Received(link, head + page)
        yield Closed(link, "eof")

    def _page(self, target: str, action: str, body: str) -> tuple[int, bytes]:
        self.asked.append(f"http {action or target}")
        page = self.pages.get(action or target)
        if page is not None:
            return page if isinstance(page, tuple) else (200, page)
        if not action:
            return 200, DESCRIPTION.encode()
        port = int(between(body, "NewExternalPort") or 0)
        if action == "GetExternalIPAddress":
            return 200, soap_answer(action, NewExternalIPAddress=self.outside).encode()
        if action.startswith("Add"):
            assert between(body, "NewInternalClient") == str(OWN)
            assert between(body, "NewProtocol") == "UDP"
            assert port >= 1024
            if action == "AddPortMapping" and port in self.taken:
                return 500, soap_fault(718).encode()
            if "permanent" in self.speaks and between(body, "NewLeaseDuration") != "0":
                return 500, soap_fault(725).encode()
            port += port in self.taken
            self.mappings["upnp", int(between(body, "NewInternalPort"))] = port
            results: dict[str, Any] = {"NewReservedPort": port} if action == "AddAnyPortMapping" else {}
            return 200, soap_answer(action, **results).encode()
        self.mappings = {key: external for key, external in self.mappings.items() if external != port}
        return 200, soap_answer(action).encode()


def between(text: str, name: str) -> str:
    return text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]


MAX_STEPS = 400


def drain(mapper: Mapper, router: Router, now: float) -> list[Fact]:
    """Everything that is due now, and what the router makes of it; afterwards nothing is due."""
    told = []
    events: list[Event] = []
    for _ in range(MAX_STEPS):
        for event in events:
            if not isinstance(event, Closed) and event.link not in router.open:
                continue  # closed by the mapper meanwhile
            mapper.receive(event, now)
        events = [event for effect in mapper.transmit(now) for event in router.take(effect, now)]
        told += mapper.take_facts()
        if not events and mapper.deadline() > now:
            return told
    raise AssertionError(f"it does not come to rest: {mapper.deadline()} {router.asked[-20:]}")


def run(mapper: Mapper, router: Router, clock: Clock, until: float = math.inf) -> list[Fact]:
    """Deadline by deadline, to that time; or until a mapping is there, or none is to be had for a while."""
    told = drain(mapper, router, clock.now)
    while mapper.deadline() <= until and (until < math.inf or mapper.deadline() < clock.now + 10):
        clock.advance_to(mapper.deadline())
        told += drain(mapper, router, clock.now)
    if until < math.inf:
        clock.advance_to(until)
    return told


def new_mapper(*, upnp: bool = False) -> Mapper:
    return Mapper(random.Random(1).randbytes, upnp=upnp)
