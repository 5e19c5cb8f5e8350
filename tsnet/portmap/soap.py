"""SOAP: calling a router's service by HTTP, and reading what it returns.

    POST <control URL>   SOAPACTION: "<kind>#<action>"   <s:Envelope><s:Body><u:action><NewX>…</NewX></u:action>…
    200                  <s:Envelope><s:Body><u:actionResponse><NewX>…</NewX></u:actionResponse>…
    500                  … <s:Fault>… <UPnPError><errorCode>725</errorCode>…

| action                | arguments                                        | result                   |
|-----------------------|--------------------------------------------------|--------------------------|
| AddPortMapping        | host, external, UDP, internal, own, 1, text, TTL | none                     |
| AddAnyPortMapping     | the same, of WANIPConnection:2                   | NewReservedPort          |
| DeletePortMapping     | host, external, UDP                              | none                     |
| GetExternalIPAddress  | none                                             | NewExternalIPAddress     |

The remote host stays empty: anybody may send to the external port. External port 0 would be all ports, and is never
asked for.

Source: UPnP WANIPConnection:2 §2.5; UPnP Device Architecture 1.1 §3.1.
Not here: which call follows which (`upnp`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tsnet.base.addresses import parse_port
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.portmap.elements import read_elements

INVALID_ACTION, INVALID_ARGS, CONFLICT, ONLY_PERMANENT = 401, 402, 718, 725
LEAST_PORT = 1024
"""Many routers give none below."""

DESCRIPTION = "tsnet"
MAX_REPLY = 16 * 1024

_ENVELOPE = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{kind}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)


@record
class Call:
    """One call of a service of this kind. arguments: in the order that the action wants."""

    kind: str
    action: str
    arguments: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Content-Type", 'text/xml; charset="utf-8"'), ("SOAPAction", f'"{self.kind}#{self.action}"'))

    def encode(self) -> bytes:
        """The body. Nothing in an argument needs escaping: they are numbers, our own address, and words of ours."""
        arguments = "".join(f"<{name}>{value}</{name}>" for name, value in self.arguments)
        return _ENVELOPE.format(action=self.action, kind=self.kind, arguments=arguments).encode()


def add_mapping(kind: str, external: int, internal: int, own: str, lifetime: int, *, any_port: bool) -> Call:
    """lifetime: seconds; 0 is for ever. any_port: if the external port is taken, another one will do."""
    return Call(
        kind,
        "AddAnyPortMapping" if any_port else "AddPortMapping",
        (
            *_mapping(external),
            ("NewInternalPort", str(internal)),
            ("NewInternalClient", own),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", DESCRIPTION),
            ("NewLeaseDuration", str(lifetime)),
        ),
    )


def delete_mapping(kind: str, external: int) -> Call:
    return Call(kind, "DeletePortMapping", _mapping(external))


def external_address(kind: str) -> Call:
    return Call(kind, "GetExternalIPAddress")


def _mapping(external: int) -> tuple[tuple[str, str], ...]:
    return ("NewRemoteHost", ""), ("NewExternalPort", str(external)), ("NewProtocol", "UDP")


class SoapFault(MalformedError):
    """The router says no. code: UPnP's error code; 0 if there is none in it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}" if code else "a fault without a code")
        self.code: int = code


def decode_result(status_code: int, body: bytes, action: str) -> Mapping[str, str]:
    """The results of the call by name. status_code: HTTP's. Raises MalformedError, of which SoapFault is one."""
    if status_code not in (200, 500):
        raise MalformedError(f"status {status_code}")
    elements = read_elements(body)
    if status_code == 500:
        codes = (parse_port(text) for path, text in elements if path[-2:] == ("UPnPError", "errorCode"))
        raise SoapFault(next((code for code in codes if code), 0))
    answer = f"{action}Response"
    if not any(path[-1] == answer for path, _text in elements):
        raise MalformedError("no result of this call")
    return {path[-1]: text for path, text in elements if path[-2:-1] == (answer,)}
