"""SSDP: asking a router over UDP whether it speaks UPnP, and where its description is.

    request   M-SEARCH * HTTP/1.1 , HOST , ST (what is looked for) , MAN "ssdp:discover" , MX (seconds to answer in)
    reply     HTTP/1.1 200 OK , LOCATION (a URL) , ST , USN (both tell the kind of device) , SERVER

The request goes to the router's own address, and to nobody else: a reply of another machine would not count. Routers
that hear only what is sent to the multicast address of SSDP are not found.

Source: UPnP Device Architecture 1.1 §1.3.
Not here: whether the location is the router's (`location`), the description (`igd`).
"""

from __future__ import annotations

import attrs

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record

PORT = 1900
MAX_SIZE = 2048
"""Bytes of a reply. Real ones have 300 to 600."""

GATEWAY = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
ALL = "ssdp:all"
_KIND = ":InternetGatewayDevice:"
_LINES = ("M-SEARCH * HTTP/1.1", "HOST: {host}:{port}", "ST: {target}", 'MAN: "ssdp:discover"', "MX: 2", "", "")


@record
class Discovered:
    """location: the URL of the description, as it was sent. usn: which device at which kind of service."""

    location: str = attrs.field(repr=False)
    usn: str = ""
    server: str = ""


def encode_search(host: str, target: str = GATEWAY) -> bytes:
    """host: whom it is sent to."""
    return "\r\n".join(_LINES).format(host=host, port=PORT, target=target).encode("ascii")


def decode_search(datagram: bytes) -> str:
    """What a router reads: the kind of device that is looked for."""
    lines = _head(datagram, "M-SEARCH * HTTP/1.1")
    if lines.get("man") != '"ssdp:discover"' or "st" not in lines:
        raise MalformedError("no SSDP search")
    return lines["st"]


def decode_found(datagram: bytes) -> Discovered:
    """The reply of an internet gateway; one of any other device is malformed."""
    lines = _head(datagram, "HTTP/1.1 200")
    if not any(_KIND in lines.get(name, "") for name in ("st", "usn")):
        raise MalformedError("an SSDP reply of a device that is no gateway")
    if not lines.get("location"):
        raise MalformedError("an SSDP reply without a location")
    return Discovered(lines["location"], lines.get("usn", ""), lines.get("server", ""))


def _head(datagram: bytes, first: str) -> dict[str, str]:
    """The header lines, by names in lower case. Of a name that is repeated, the first counts."""
    if len(datagram) > MAX_SIZE:
        raise MalformedError("an SSDP message that is too long")
    text, end, _rest = datagram.decode("latin-1").partition("\r\n\r\n")
    if not text.startswith(first):
        raise MalformedError("no SSDP message of this kind")
    if not end:
        raise MalformedError("an SSDP message cut short")
    found: dict[str, str] = {}
    for line in text.split("\r\n")[1:]:
        name, _colon, value = line.partition(":")
        found.setdefault(name.strip().lower(), value.strip())
    return found
