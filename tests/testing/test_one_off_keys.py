"""An auth key for one node, and two hundred machines that bring it at once, each on a connection of its own."""

from __future__ import annotations

import contextlib
import random
import socket
from urllib.parse import urlsplit

import pytest

from tsnet.base.crypto import machine_public, node_public
from tsnet.base.keys import MachineKey, MachinePrivateKey, NodePrivateKey
from tsnet.control.http import Body, End, HttpClient
from tsnet.control.messages import REGISTER_PATH, RegisterRequest, RegisterResponse
from tsnet.control.transport import Initiator
from tsnet.control.upgrade import upgrade_request
from tsnet.testing import Tailnet

CROWD = 200


class Applicant:
    """A machine that registers on a real connection: `ask` sends, `answer` waits."""

    def __init__(self, where: tuple[str, int], control: MachineKey, seed: int) -> None:
        chance = random.Random(seed)
        self.socket = socket.create_connection(where, timeout=10)
        self.node = node_public(NodePrivateKey(chance.randbytes(32)))
        self.noise = Initiator(MachinePrivateKey(chance.randbytes(32)), control, 131, chance.randbytes)
        self.upgrade = upgrade_request("control", self.noise.initiation)
        self.http = HttpClient("control")
        self.socket.sendall(self.upgrade.sent)

    def be_upgraded(self) -> None:
        while (response := self.upgrade.receive(self.socket.recv(4096))) is None:
            pass
        assert response.status == 101
        self.http.receive(self.noise.receive(response.rest))

    def ask(self, auth_key: str) -> None:
        request = RegisterRequest(self.node, auth_key=auth_key, hostinfo={"Hostname": "one of many"})
        self.http.request("POST", REGISTER_PATH, request.encode())
        self.socket.sendall(self.noise.seal(self.http.transmit()))

    def answer(self) -> RegisterResponse:
        body, ended = bytearray(), False
        while not ended:
            for event in self.http.receive(self.noise.receive(self.socket.recv(4096))):
                body += event.data if isinstance(event, Body) else b""
                ended = ended or isinstance(event, End)
        return RegisterResponse.decode(bytes(body))


@pytest.mark.parametrize("saved", [False, True])
def test_one_of_two_hundred_gets_in(saved: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("tailnet") / "state" if saved else None
    with Tailnet(state=state) as tailnet, contextlib.ExitStack() as stack:
        where = urlsplit(tailnet.control_url)
        assert where.hostname is not None
        assert where.port is not None
        key = tailnet.create_auth_key("ann@example.com")
        control = machine_public(tailnet._machine_key)
        crowd = [Applicant((where.hostname, where.port), control, seed) for seed in range(CROWD)]
        for one in crowd:
            stack.callback(one.socket.close)
            one.be_upgraded()
        for one in crowd:
            one.ask(key)
        answers = [one.answer() for one in crowd]
        (welcome,) = (answer for answer in answers if not answer.error)
        assert welcome.user.login_name == "ann@example.com"
        assert [answer.error for answer in answers].count("auth key already used") == CROWD - 1
        assert len(tailnet.nodes()) == 1
