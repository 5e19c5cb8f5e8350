"""What carries the HTTP/2 attacks: ts2021 as a caller of our control server, and as a control server that we call.

    caller = Caller(machine, control_key)         sent: the upgrade; then `receive` what comes, and `seal` frames
    callee = Callee(control, stream_attack)       receive(bytes) -> bytes to send at once; `frames` once a poll waits

Both are sans-IO; `sockets` puts them on real ones.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from tests.attacks import http2
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.control.http import HttpServer, Request
from tsnet.control.messages import MAP_PATH, REGISTER_PATH, ControlKeys, MapRequest, RegisterResponse
from tsnet.control.transport import _FRAME, _NONCE, MAX_PLAINTEXT, RECORD, Initiator, Records, Responder
from tsnet.control.upgrade import Answering, initiation_of, upgrade_request
from tsnet.netmap.model import UserProfile

VERSION = 113

WELCOME = RegisterResponse(user=UserProfile(1, "u@example.com", "U"))


class Caller:
    """A stranger: any machine key will do. `is_up` once frames may be sealed."""

    def __init__(self, control: MachineKey, machine: MachinePrivateKey | None = None) -> None:
        self._noise = Initiator(machine or MachinePrivateKey(os.urandom(32)), control, VERSION, os.urandom)
        self._asking = upgrade_request("control", self._noise.initiation)
        self.sent = self._asking.sent
        self.is_up = False

    def receive(self, data: bytes) -> bytes:
        """The HTTP/2 bytes that have come."""
        if not self.is_up:
            response = self._asking.receive(data)
            if response is None:
                return b""
            assert response.status == 101, response
            self.is_up, data = True, response.rest
        return self._noise.receive(data) if data else b""

    def seal(self, plaintext: bytes) -> bytes:
        return self._noise.seal(plaintext)

    def attack(self, name: str) -> Iterator[bytes]:
        """Sealed pieces of the attack, for ever."""
        opening = http2.PREFACE + http2.settings()
        return map(self.seal, http2.chunks(itertools.chain((opening,), http2.ON_SERVER[name]()), MAX_PLAINTEXT * 4))

    def empty_records(self) -> Iterator[bytes]:
        """Records without a byte in them, for ever."""
        records = self._noise._records
        assert records is not None
        while True:
            yield b"".join(_empty_record(records) for _ in range(256))


def _empty_record(records: Records) -> bytes:
    """`Records.seal` makes no record of no bytes, so this goes below it."""
    sealed = records._seal(_NONCE.pack(records._send_counter), b"", None)
    records._send_counter += 1
    return _FRAME.pack(RECORD, len(sealed)) + sealed


class Callee:
    """A control server that lets everybody in, and attacks once the node polls for its map.

    choose: makes the endless frames, from the poll's stream. `frames` is None until then.
    """

    def __init__(self, private: MachinePrivateKey, choose: Callable[[int], Iterator[bytes]]) -> None:
        self.frames: Iterator[bytes] | None = None
        self._private, self._choose = private, choose
        self._outer = Answering()
        self._noise: Responder | None = None
        self._http = HttpServer()

    def receive(self, data: bytes) -> bytes:
        """What to answer."""
        if self._noise is None:
            return self._page(data)
        for request in self._http.receive(self._noise.receive(data)):
            if isinstance(request, Request):
                self._answer(request)
        return self._noise.seal(self._http.transmit())

    def seal(self, plaintext: bytes) -> bytes:
        assert self._noise is not None
        return self._noise.seal(plaintext)

    def attack(self) -> Iterator[bytes]:
        """Sealed pieces of the attack, for ever."""
        assert self.frames is not None
        return map(self.seal, http2.chunks(self.frames, MAX_PLAINTEXT * 4))

    def _page(self, data: bytes) -> bytes:
        request = self._outer.receive(data)
        if request is None:
            return b""
        if request.path.startswith("/key"):
            return self._outer.respond(200, ControlKeys(machine_public(self._private)).encode())
        self._noise = Responder(self._private, initiation_of(request), os.urandom)
        switching, rest = self._outer.switch()
        return switching + self._noise.response + self.receive(rest)

    def _answer(self, request: Request) -> None:
        if request.path == REGISTER_PATH:
            self._http.respond(request.stream, 200, WELCOME.encode())
        elif request.path == MAP_PATH and MapRequest.decode(request.body).stream:
            self.frames = self._choose(request.stream)
        else:
            self._http.respond(request.stream, 200)
