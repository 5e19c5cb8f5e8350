from __future__ import annotations

from tests.control.server.test_server import Caller
from tsnet.base.malformed import MalformedError
from tsnet.control.server.answers import ControlRequest, Reply

PATH = "/machine/set-dns"


def test_a_door_answers_posts_to_its_path_with_what_its_function_returns() -> None:
    caller, seen = Caller(), list[ControlRequest]()

    def answer(request: ControlRequest) -> Reply:
        seen.append(request)
        return Reply(200, b"{}")

    assert caller.call(PATH, b"x")[0] == 501
    caller.wire.server.answers[PATH] = answer
    assert caller.call(f"{PATH}?a=1", b"x") == (200, b"{}")
    assert [(one.machine, one.body) for one in seen] == [(caller.machine, b"x")]
    assert caller.call(PATH, b"x", "PUT")[0] == 501
    assert len(seen) == 1


def test_what_a_door_cannot_read_is_a_bad_request() -> None:
    caller = Caller()

    def answer(request: ControlRequest) -> Reply:
        raise MalformedError("no sense")

    caller.wire.server.answers[PATH] = answer
    assert caller.call(PATH, b"x") == (400, b"no sense")


def test_a_body_does_not_show() -> None:
    caller = Caller()
    assert "secret" not in repr(ControlRequest(caller.machine, b"secret", 1.0)) + repr(Reply(200, b"secret"))
