"""What will soon be needed is made ready while the node's thread has nothing to do but wait.

    begun   ─► waits for control's first answer    ─► `joining`: for what control says and what it is answered
    runs    ─► waits until somebody dials          ─► `talking`: for the first conversation with a peer

    a step: one record's methods, or one module ─► PAUSE ─► the next ─► … ─► never again in this process

Without it whoever is far from control waits for it after each round trip, and the first dial, or the first peer that
dials, waits as well: for dozens of classes of records whose methods attrs writes at the first value, for HTTP/2, and
for a blocking server's sockets. A step takes a third of a millisecond, that of a large module some four to ten, and is
put off while anything else is due. Whatever begins meanwhile makes what it needs itself.

Not here: a node in its application's loop, where a step would keep the application waiting: it has no warming.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from tsnet.base import jsonpieces, links
from tsnet.control import http, mapframes
from tsnet.control import messages as control_messages
from tsnet.control.client import controlconnection, login
from tsnet.control.client import facts as control_facts
from tsnet.disco import changes, messages
from tsnet.edge.io.log import log
from tsnet.edge.run.alarms import Alarm
from tsnet.engine import facts, saved, tsmp, view
from tsnet.http1 import asking
from tsnet.netmap import changes as netmap_changes
from tsnet.netmap import merge, model
from tsnet.wireguard import facts as device_facts
from tsnet.wireguard import handshake
from tsnet.wireguard import messages as handshake_messages

PAUSE, LONG_PAUSE = 0.003, 0.1
"""Seconds from one step to the next, and those for which a busy node is left alone."""

Step = Callable[[], object]

JOINING = (
    *(links.Received, asking.Response, control_messages.ControlKeys, links.Close, control_messages.RegisterRequest),
    *(http.Head, http.Body, http.End, control_messages.RegisterResponse, login.Accepted),
    *(control_facts.ControlKey, control_facts.LoggedIn, control_messages.MapRequest),
    *(saved.KnownControl, facts.Save, facts.LoggedIn),
    *(controlconnection.Piece, jsonpieces.Each, jsonpieces.Members, control_messages.MapResponse),
    *(model.DerpNode, model.DerpRegion, model.DnsConfig, model.NetMap, merge.DerpMapUpdate, merge.MapUpdate),
    *(control_facts.NetMapChanged, control_facts.Connected, control_facts.Published, netmap_changes.Changes),
    *(facts.ControlChanged, facts.PrefsTaken, facts.Running, facts.NetMapChanged, view.NodeView, links.Tls),
    device_facts.MarkMoved,
)
"""The records of which joining makes the first value once control has answered, in its order."""

DIALLING = (
    handshake.Remote,
    handshake.Initiated,
    handshake_messages.Initiation,
    handshake_messages.Response,
    device_facts.Heard,
    device_facts.Established,
    messages.Ping,
    messages.Pong,
    messages.CallMeMaybe,
    changes.RoutesChanged,
    facts.PathChanged,
    tsmp.DiscoAdvertisement,
)
"""The records of which a first dial makes the first value, in its order."""

ANSWERING = (handshake.Opened, handshake.Consumed, handshake.Responded)
"""Those of a first handshake that a peer begins."""


class IdleLoop(Protocol):
    """What is asked of `host.Host`."""

    def now(self) -> float: ...

    def due(self) -> float: ...

    def at(self, when: float, function: Callable[[], object]) -> Alarm: ...


class Warming:
    """The steps that are left, taken in the loop's thread for as long as `is_wanted` says so."""

    def __init__(self, loop: IdleLoop, steps: Iterable[Step], is_wanted: Callable[[], bool]) -> None:
        self._steps = deque(steps)
        self._loop = loop
        self._is_wanted = is_wanted

    @property
    def is_over(self) -> bool:
        return not self._steps

    def step(self) -> None:
        """Take one step if nothing else is due, and plan the next."""
        if not self._is_wanted():
            self._steps.clear()
            return
        pause = LONG_PAUSE
        if self._loop.due() > self._loop.now():
            pause = PAUSE
            self._take()
        if self._steps:
            self._loop.at(self._loop.now() + pause, self.step)

    def _take(self) -> None:
        try:
            self._steps.popleft()()
        except Exception as error:  # no descriptor is left to read a module, say: whoever needs it finds out
            log.say(logging.DEBUG, "what will be needed could not be made ready: %s", error)


def joining() -> list[Step]:
    """For a node that waits for control's first answer."""
    return [_module("h2.connection"), mapframes.load_zstd, *map(_record, JOINING)]


def talking(modules: Iterable[str]) -> list[Step]:
    """For a node that runs. modules: which its application will probably need."""
    return [*map(_module, modules), *map(_record, (*DIALLING, *ANSWERING))]


def _module(name: str) -> Step:
    return functools.partial(importlib.import_module, name)


def _record(record: type[attrs.AttrsInstance]) -> Step:
    return functools.partial(attrs.fields, record)
