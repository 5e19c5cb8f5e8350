"""Who need not be a peer: any machine key at control, any node key at a relay, whoever has recorded an initiation.

The bytes are those of `tests.attacks`. A connection that the victim ends is made anew.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from itertools import chain

from benchmarks.attacks.members import enrol
from benchmarks.attacks.tally import LOOPBACK, PAUSE, SAID_EVERY, Pace, Tally, Target, Wire
from tests.attacks import derp, http2
from tests.attacks.sockets import log_in
from tests.attacks.ts2021 import VERSION, Caller
from tests.attacks.wireguard import Flood, calls
from tsnet.base.crypto import node_public
from tsnet.base.keys import MachineKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.messages import ControlKeys
from tsnet.http1.asking import Asking

MACHINES, SENDERS = 5, 3

Attempt = Callable[[], None]


def control(name: str, target: Target, tally: Tally) -> None:
    """The attack of that name in `http2.ON_SERVER`, by MACHINES machines at once."""
    key, pace = server_key(target.control), Pace(target.rate)

    def attempt() -> None:
        with Wire(target.control) as wire:
            caller = Caller(key)
            wire.write(caller.sent)
            while not caller.is_up:
                caller.receive(wire.read())
            opening = http2.PREFACE + http2.settings()
            wire.pour(chain((opening,), http2.ON_SERVER[name]()), caller.seal, tally, pace)

    _again_and_again([attempt] * MACHINES, tally)


def server_key(port: int) -> MachineKey:
    asking = Asking("GET", f"/key?v={VERSION}", LOOPBACK)
    with Wire(port) as wire:
        wire.write(asking.sent)
        while (answer := asking.receive(wire.read())) is None:
            pass
    return ControlKeys.decode(answer.body).public


def relay(name: str, target: Target, tally: Tally) -> None:
    """The attack of that name in `derp.ON_RELAY`, by SENDERS strangers at once; each at the next one."""
    _relay(name, target, tally, [NodePrivateKey(os.urandom(32)) for _ in range(SENDERS)])


def relay_by_nodes(name: str, target: Target, tally: Tally) -> None:
    """The same by nodes of the tailnet."""
    _relay(name, target, tally, [enrol(target, f"tiny-{number}").private for number in range(SENDERS)])


def _relay(name: str, target: Target, tally: Tally, keys: list[NodePrivateKey]) -> None:
    pace = Pace(target.rate)

    def attempt(number: int) -> None:
        connection = log_in(LOOPBACK, target.relay, keys[number], tls=False)
        with Wire(connection=connection) as wire:
            to = node_public(keys[(number + 1) % SENDERS])
            wire.pour(derp.ON_RELAY[name](to), bytes, tally, pace)

    _again_and_again([functools.partial(attempt, number) for number in range(SENDERS)], tally)


def replay(target: Target, tally: Tally) -> None:
    """One true initiation of a peer that has left, again and again."""
    peer = enrol(target, "replayed")
    recorded = calls(peer.peers[target.hostname], peer.private, 1, unix_time=time.time())
    with Flood(recorded, (LOOPBACK, target.udp), per_second=target.rate) as flood:
        while True:
            time.sleep(SAID_EVERY)
            tally.add("initiations", flood.sent - tally.done["initiations"])


def _again_and_again(attempts: list[Attempt], tally: Tally) -> None:
    def attack(attempt: Attempt) -> None:
        while True:
            try:
                attempt()
            except (OSError, EOFError, AssertionError, MalformedError):
                tally.add("ended by the victim")
            time.sleep(PAUSE)

    threads = [threading.Thread(target=attack, args=(attempt,), daemon=True) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
