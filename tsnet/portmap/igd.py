"""A router's description: which of its services can map ports, and the URLs at which they are called.

    <root><URLBase>…</URLBase>
      <device>…<deviceList><device>…<serviceList><service><serviceType>…</serviceType><controlURL>…</controlURL>

| rank | service type                                         |
|------|------------------------------------------------------|
| 0    | urn:schemas-upnp-org:service:WANIPConnection:2       |
| 1    | urn:schemas-upnp-org:service:WANIPConnection:1       |
| 2    | urn:schemas-upnp-org:service:WANPPPConnection:1      |
| 3, 4 | urn:dslforum-org:service:WANPPPConnection:1, …WANIP… |

A URL may be relative: to URLBase, or else to where the description came from. Whatever it says, it must be of the
router (`location`).

Source: UPnP InternetGatewayDevice:2 §2; UPnP Device Architecture 1.1 §2.3; Go net/portmapper/upnp.go.
Not here: the XML itself (`elements`), the calls (`soap`).
"""

from __future__ import annotations

from collections.abc import Iterable

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.http1.url import Url
from tsnet.portmap.elements import read_elements
from tsnet.portmap.location import of_router

ANY_PORT = "urn:schemas-upnp-org:service:WANIPConnection:2"
"""The one kind that chooses another external port if the wanted one is taken."""

KINDS = (
    ANY_PORT,
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
    "urn:dslforum-org:service:WANPPPConnection:1",
    "urn:dslforum-org:service:WANIPConnection:1",
)
MAX_SERVICES = 4


@record
class WanService:
    """kind: one of KINDS. url: where it is called; the host is the router."""

    kind: str
    url: str

    @property
    def chooses_port(self) -> bool:
        return self.kind == ANY_PORT


def decode_description(document: bytes, location: Url) -> list[WanService]:
    """The services that map ports, best first, at most MAX_SERVICES. location: where the description came from.

    Raises MalformedError if there is none, or if one that counts is said to be elsewhere.
    """
    base, services = location, []
    kind = control = ""
    for path, text in read_elements(document):
        if path[-1] == "URLBase" and len(path) == 2 and text:
            base = of_router(text, location.host)
        elif path[-2:] == ("service", "serviceType"):
            kind = text
        elif path[-2:] == ("service", "controlURL"):
            control = text
        elif path[-1] == "service":
            services.append((kind, control))
            kind = control = ""
    found = _usable(services, base)
    if not found:
        raise MalformedError("a description without a service that maps ports")
    return found


def _usable(services: Iterable[tuple[str, str]], base: Url) -> list[WanService]:
    known = [(kind, control) for kind, control in services if kind in KINDS and control]
    known.sort(key=lambda service: KINDS.index(service[0]))
    found = (WanService(kind, str(of_router(str(base.join(control)), base.host))) for kind, control in known)
    return list(dict.fromkeys(found))[:MAX_SERVICES]
