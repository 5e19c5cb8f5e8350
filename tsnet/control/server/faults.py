"""Faults that a test plans: which requests control answers late, wrongly or not at all. Everything else is served.

| Effect | the request                                                                              |
|--------|------------------------------------------------------------------------------------------|
| HOLD   | waits until the fault is removed, and is then served                                     |
| DELAY  | waits for some seconds, and is then served                                               |
| DROP   | ends its connection without an answer                                                    |
| REFUSE | is answered with a status, and Retry-After if that is given; it has no other effect      |
| GARBLE | is answered with bytes that are no JSON; it has no other effect                          |
| OMIT   | is served, and its answer lacks some fields; of a map stream, every message lacks them   |

The first fault that fits a request is the one that it meets, and it meets one at most. Nothing is left to chance.

Source: none; these are what the clients' own tables of errors name.
Not here: what becomes of a request that meets one (`suffering`), how a test plans a fault (`tsnet.testing.planned`).
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable, Collection

import attrs

from tsnet.base import jsonobject
from tsnet.control import http, upgrade
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MAP_PATH, REGISTER_PATH, MapRequest, RegisterRequest
from tsnet.control.server.connection import Connection
from tsnet.control.server.members import label_of
from tsnet.control.server.tailnet import TailnetState

MAP, UPDATE, C2N, EVERY = "map", "update", "c2n", "*"
KINDS = frozenset(
    "* key ts2021 register map update c2n set-dns id-token feature/query whoami update-health audit-log".split()
)
"""map: a stream, or one whole map. update: what a node tells of itself, a map request that wants no map."""

OMITS_FROM = frozenset(("key", "register", "map", "id-token"))
"""The kinds whose answers have fields."""

GARBAGE = b'{"Node": {"ID": '

Asks = http.Request | upgrade.Request


class Effect(enum.Enum):
    HOLD = "hold"
    DELAY = "delay"
    DROP = "drop"
    REFUSE = "refuse"
    GARBLE = "garble"
    OMIT = "omit"


@attrs.define(eq=False)
class Fault:
    """kind: one of KINDS. node: the name of the node that it is for, or what a new one calls itself; "" is everybody.

    times: how many requests it is for. met: how many have met it.
    """

    effect: Effect
    kind: str
    node: str = ""
    times: float = math.inf
    seconds: float = 0.0
    status: int = 503
    retry_after: float | None = None
    fields: tuple[str, ...] = ()
    met: int = 0
    is_removed: bool = False

    @property
    def headers(self) -> list[tuple[str, str]]:
        plain = [("content-type", "text/plain; charset=utf-8")]
        return (
            plain
            if self.retry_after is None
            else [*plain, ("retry-after", f"{self.retry_after:.3f}".rstrip("0").rstrip("."))]
        )


class Faults:
    """The faults that are planned, in their order. They outlast a restart of the server."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._planned)

    def plan(self, fault: Fault) -> Fault:
        self._planned.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """The fault is over; what it holds is served. It may be removed twice."""
        fault.is_removed = True
        self._planned = [one for one in self._planned if one is not fault]

    def remove_all(self) -> None:
        for fault in self._planned:
            self.remove(fault)

    def meet(self, kind: str, names: Callable[[], Collection[str]]) -> Fault | None:
        """The fault of a request of this kind, by a node that has these names. It is counted."""
        for fault in self._planned:
            if fault.kind in (kind, EVERY) and fault.met < fault.times and (not fault.node or fault.node in names()):
                fault.met += 1
                return fault
        return None


def kind_of(request: Asks) -> str:
    """ "": no fault is for such a request."""
    path = request.path.partition("?")[0]
    if isinstance(request, upgrade.Request):
        return path[1:] if path in ("/key", "/ts2021") else ""
    if path.startswith("/c2n/"):
        return C2N
    if path == MAP_PATH:
        asked = MapRequest.decode(request.body)
        return UPDATE if asked.omit_peers and not asked.stream else MAP
    return path.removeprefix("/machine/")


def names_of(tailnet: TailnetState, connection: Connection, request: Asks) -> set[str]:
    """The names of the nodes of the machine that asks, and what a new one calls itself."""
    names = {member.name for member in tailnet.members.values() if member.machine == connection.machine}
    if request.path == REGISTER_PATH:
        wanted = RegisterRequest.decode(request.body).hostinfo.get("Hostname")
        names |= {label_of(wanted)} if isinstance(wanted, str) else set()
    return names


def garbage_for(kind: str, request: Asks) -> bytes:
    """A body that the client cannot read. A map has its frame, so that it is known to be whole."""
    if kind != MAP:
        return GARBAGE
    return encode_frame(GARBAGE, compress=MapRequest.decode(request.body).compress)


def without(body: bytes, fields: Collection[str]) -> bytes:
    """A JSON object without these fields. It is one of our own."""
    if not fields:
        return body
    return jsonobject.encode({name: value for name, value in json.loads(body).items() if name not in fields})
