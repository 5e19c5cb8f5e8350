"""What the first conversation needs and joining does not is made ready while the node's thread has nothing to do.

    up ─► a pause ─► one record's methods, or one module ─► PAUSE ─► the next ─► … ─► never again in this process

Without it the first dial, or the first peer that dials, waits for it: some 12 classes of records whose methods attrs
writes at the first value, and for a blocking server the modules of its sockets. A step takes a third of a millisecond,
the sockets' some four, and is put off while anything else is due. A conversation that begins meanwhile makes what it
needs itself.

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

from tsnet.disco import changes, messages
from tsnet.edge.io.log import log
from tsnet.edge.run.alarms import Alarm
from tsnet.engine import facts, tsmp
from tsnet.wireguard import facts as device_facts
from tsnet.wireguard import handshake
from tsnet.wireguard import messages as handshake_messages

PAUSE, LONG_PAUSE = 0.003, 0.1
"""Seconds from one step to the next, and those for which a busy node is left alone."""

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

    def __init__(self, loop: IdleLoop, modules: Iterable[str], is_wanted: Callable[[], bool]) -> None:
        records = [functools.partial(attrs.fields, record) for record in (*DIALLING, *ANSWERING)]
        imports = [functools.partial(importlib.import_module, module) for module in modules]
        self._steps: deque[Callable[[], object]] = deque([*imports, *records])
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
            log.say(logging.DEBUG, "what a first dial needs could not be made ready: %s", error)
