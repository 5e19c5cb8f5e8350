"""SSDP: what is asked, and which replies are those of a gateway."""

from __future__ import annotations

import pytest

from tsnet.base.malformed import MalformedError
from tsnet.portmap.ssdp import ALL, GATEWAY, MAX_SIZE, Discovered, decode_found, decode_search, encode_search

FOUND = (
    b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"USN: uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n"
    b"SERVER: Debian/6 UPnP/1.1 MiniUPnPd/2.3.1\r\nLOCATION: http://192.168.7.1:40421/rootDesc.xml\r\n"
    b'OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01\r\n\r\n'
)


def test_a_golden_search_both_ways() -> None:
    golden = (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 192.168.7.1:1900\r\n"
        b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
        b'MAN: "ssdp:discover"\r\nMX: 2\r\n\r\n'
    )
    assert encode_search("192.168.7.1") == golden
    assert decode_search(golden) == GATEWAY
    assert decode_search(encode_search("192.168.7.1", ALL)) == ALL


def test_a_gateways_reply() -> None:
    assert decode_found(FOUND) == Discovered(
        "http://192.168.7.1:40421/rootDesc.xml",
        "uuid:1::urn:schemas-upnp-org:device:InternetGatewayDevice:1",
        "Debian/6 UPnP/1.1 MiniUPnPd/2.3.1",
    )


@pytest.mark.parametrize("length", range(len(FOUND)))
def test_a_reply_that_is_cut_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        decode_found(FOUND[:length])


@pytest.mark.parametrize(
    "datagram",
    [
        FOUND.replace(b"InternetGatewayDevice", b"MediaServer"),
        FOUND.replace(b"LOCATION", b"X"),
        FOUND.replace(b"http://192.168.7.1:40421/rootDesc.xml", b""),
        FOUND.replace(b"200", b"404"),
        FOUND.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * MAX_SIZE + b"\r\n\r\n"),
        encode_search("192.168.7.1"),
        b"\xff" * 100,
    ],
)
def test_what_no_gateway_says(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_found(datagram)


@pytest.mark.parametrize("datagram", [b"", FOUND, b"M-SEARCH * HTTP/1.1\r\nST: x\r\n\r\n"])
def test_what_is_no_search(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_search(datagram)


def test_of_a_line_that_is_repeated_the_first_counts() -> None:
    twice = FOUND.replace(b"EXT:", b"LOCATION: http://192.168.7.1/a\r\nEXT:")
    assert decode_found(twice).location == "http://192.168.7.1/a"
