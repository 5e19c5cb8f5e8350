"""Control to node: an HTTP request inside a map message, answered by a POST of the whole response.

| path                        | method    | answer                                                                     |
|-----------------------------|-----------|----------------------------------------------------------------------------|
| /echo                       | any       | 200, the body: control asks this to see whether we live                    |
| /debug/health               | any       | 200, Warnings: what this node finds wrong                                  |
| /debug/netmap               | GET, POST | 200, Current: the netmap that control sent; 501 if that is long            |
| /debug/rejects              | GET       | 200: the flows that were rejected lately, while control wants them kept    |
| /debug/tka/log              | any       | 400: Tailnet Lock is not active here                                       |
| /remoteapi/localapi/…       | any       | 403: nobody on this machine has let control configure it                   |
| /update                     | GET, POST | 200, not Supported; a POST is told that nothing was begun                  |
| /posture/identity           | GET       | 200, PostureDisabled: no serial number leaves this machine                 |
| /tls-cert-status?domain=    | GET       | 200, no certificate                                                        |
| /vip-services               | GET       | 200, none                                                                  |
| /appconnector/routes        | GET       | 200, none                                                                  |
| /logtail/flush, /sockstats  | POST      | 500, as from a Go node that keeps no such logs                             |
| /netfilter-kind             | POST      | 501: this node has no firewall                                             |
| /debug/… that Go has beside | any       | 501: a library shows control nothing of the process that it is a part of   |

Any other method is told 405, and any other path 400 "unknown c2n path", as from Go.

Source: Go feature/c2n/c2n.go, ipn/ipnlocal/c2n.go handleC2N, tailcfg/c2ntypes.go; tailcfg.PingRequest.
Not here: when and where the answer goes (`pings`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import attrs
import h11

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.control import tailcfg
from tsnet.netmap.limits import weigh
from tsnet.netmap.model import NetMap

MAX_PAYLOAD = 64 * 1024
"""Bytes of a request. Its answer may be as long, and several may wait to be sent."""

MAX_SHOWN_PEERS = 256
"""Peers, and users, and DNS records, of a netmap that is shown. It is encoded within one turn of the node."""

MAX_WEIGHT = 2 << 20
"""Bytes of memory of the peers of a netmap that is shown: what a peer says of itself is unpacked only for this."""

MAX_ANSWER = 512 * 1024
"""Bytes of an answer. What would be longer is not given."""

_REASONS = {200: "OK", 400: "Bad Request", 405: "Method Not Allowed", 500: "Internal Server Error"}


NO_REJECTS: Mapping[str, Any] = {"Enabled": False, "Outgoing": [], "Incoming": []}
"""What is shown of rejected flows while control does not want them kept."""


@record
class Shown:
    """What an answer may tell. health: sentences. netmap: None before control has sent one.

    rejected: Go's DebugRejectsResponse.
    """

    netmap: NetMap | None = None
    health: tuple[str, ...] = ()
    rejected: Mapping[str, Any] = NO_REJECTS


@attrs.frozen
class _Question:
    method: str
    query: str
    body: bytes
    shown: Shown


_Answer = tuple[int, bytes | Mapping[str, Any]]


def answer(payload: bytes, shown: Shown | None = None) -> bytes:
    """The raw HTTP/1.1 response to a raw HTTP/1.x request. Raises MalformedError if it is none, or too long."""
    if len(payload) > MAX_PAYLOAD:
        raise MalformedError(f"c2n request of {len(payload)} bytes")
    method, target, body = _request(payload)
    path, _, query = target.partition("?")
    methods = _REMOTE if path.startswith(REMOTE_CONFIG) else _PATHS.get(path)
    if methods is None:
        return _response(400, b"unknown c2n path\n")
    give = methods.get(method) or methods.get("")
    if give is None:
        return _response(405, b"bad method\n")
    return _response(*give(_Question(method, query, body, shown or Shown())))


def _request(payload: bytes) -> tuple[str, str, bytes]:
    """Method, target and body: what follows a head without Content-Length counts as no body."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_PAYLOAD)
    method, target, body = "", "", bytearray()
    try:
        connection.receive_data(payload)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target = event.method.decode("latin-1"), event.target.decode("latin-1")
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return method, target, bytes(body)
            else:
                raise MalformedError("c2n request is cut short")
    except h11.RemoteProtocolError as error:
        raise MalformedError(f"c2n request is not HTTP/1: {error}") from None


def _response(status: int, said: bytes | Mapping[str, Any]) -> bytes:
    """said: a text, or what is written as JSON."""
    kind = "text/plain" if isinstance(said, bytes) else "application/json"
    body = said if isinstance(said, bytes) else _encoded(said)
    if len(body) > MAX_ANSWER:
        return _response(501, b"too long to be shown\n")
    connection = h11.Connection(h11.SERVER)
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
    events = (
        h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, "Not Implemented")),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    return b"".join(connection.send(event) or b"" for event in events)


def _encoded(said: Mapping[str, Any]) -> bytes:
    """A line of JSON; the beginning of one that is too long for an answer, which is not written to its end."""
    size, pieces = 0, []
    for piece in json.JSONEncoder(separators=(",", ":")).iterencode(said):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER:
            break
    return "".join((*pieces, "\n")).encode()


# --- what is answered -------------------------------------------------------------------------------------------


def _always(status: int, said: bytes | Mapping[str, Any]) -> Callable[[_Question], _Answer]:
    return lambda _question: (status, said)


def _echo(question: _Question) -> _Answer:
    return 200, question.body


def _health(question: _Question) -> _Answer:
    """As Go's health.State: warnings by a code. Ours have numbers for codes."""
    warnings = {
        f"tsnet-{number}": {"WarnableCode": f"tsnet-{number}", "Severity": "medium", "Title": text, "Text": text}
        for number, text in enumerate(question.shown.health, 1)
    }
    return 200, {"Warnings": warnings}


def _netmap(question: _Question) -> _Answer:
    """The fields of Go's netmap.NetworkMap that a control server compares. A candidate map is not converted."""
    netmap = question.shown.netmap
    if netmap is None:
        return 200, {"Current": None}
    many = max(len(netmap.peers), len(netmap.users), len(netmap.dns.extra_records)) > MAX_SHOWN_PEERS
    if many or sum(map(weigh, netmap.peers.values())) > MAX_WEIGHT:
        return 501, b"too long to be shown\n"
    current = {
        "SelfNode": tailcfg.encode_node(netmap.self_node),
        "Peers": [tailcfg.encode_node(netmap.peers[number]) for number in sorted(netmap.peers)],
        "Domain": netmap.domain,
        "DNS": tailcfg.encode_dns(netmap.dns),
        "UserProfiles": {str(user.id): tailcfg.encode_user(user) for user in netmap.users.values()},
    }
    return 200, {"Current": current}


def _rejects(question: _Question) -> _Answer:
    return 200, question.shown.rejected


def _certificate(question: _Question) -> _Answer:
    if not parse_qs(question.query).get("domain"):
        return 400, b"no 'domain'\n"
    return 200, {"Error": "no certificate", "Missing": True}


_NO_UPDATE = {"Enabled": False, "Supported": False, "Started": False}
_NOT_SHOWN = _always(501, b"not available in this node\n")
_HIDDEN = (
    *("goroutines", "prefs", "metrics", "component-logging", "logheap"),
    *("pprof/heap", "pprof/allocs"),
)

REMOTE_CONFIG = "/remoteapi/localapi/"
_REMOTE = {"": _always(403, b"remote config not enabled by local machine\n")}

_PATHS: Mapping[str, Mapping[str, Callable[[_Question], _Answer]]] = {
    "/echo": {"": _echo},
    "/debug/health": {"": _health},
    "/debug/rejects": {"GET": _rejects},
    "/debug/tka/log": {"": _always(400, b"tailnet lock not active\n")},
    "/debug/netmap": {"GET": _netmap, "POST": _netmap},
    "/update": {
        "GET": _always(200, _NO_UPDATE),
        "POST": _always(200, {"Err": "this node does not update itself", **_NO_UPDATE}),
    },
    "/posture/identity": {"GET": _always(200, {"PostureDisabled": True})},
    "/tls-cert-status": {"GET": _certificate},
    "/vip-services": {"GET": _always(200, {"ServicesHash": ""})},
    "/appconnector/routes": {"GET": _always(200, {"Domains": None})},
    "/logtail/flush": {"POST": _always(500, b"no log flusher wired up\n")},
    "/sockstats": {"POST": _always(500, b"no sockstatLogger\n")},
    "/netfilter-kind": {"POST": _NOT_SHOWN},
    **{f"/debug/{name}": {"": _NOT_SHOWN} for name in _HIDDEN},
}
"""By path and method; "" is any other method."""
