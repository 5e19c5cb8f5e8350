from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature

from tests.control.joined import BASE_URL, WALL, entropy, new_tailnet
from tests.control.jwt import verified
from tests.control.server.test_server import NODE, Caller, Wire
from tests.house import House
from tsnet.base.keys import MachinePrivateKey, NodeKey
from tsnet.base.links import Link
from tsnet.control.server.idtokens import LIFETIME, MAX_AUDIENCE
from tsnet.control.server.server import Server
from tsnet.control.tokenrequest import ID_TOKEN_PATH, TokenRequest, decode_token

AUDIENCE = "https://third.example"


def ask(caller: Caller, audience: str = AUDIENCE, key: NodeKey = NODE) -> tuple[int, bytes]:
    return caller.call(ID_TOKEN_PATH, TokenRequest(key, audience).encode())


def token_of(caller: Caller) -> str:
    status, body = ask(caller)
    assert status == 200
    return decode_token(body)


def document(caller: Caller, path: str) -> bytes:
    """What anybody gets at that path of control, over a link of its own."""
    return Wire(caller.wire.server, Link("accepted", "", 99)).get(path).body


def test_a_token_says_who_the_node_is_and_anybody_can_check_that() -> None:
    caller = Caller()
    caller.register()
    claims = verified(token_of(caller), BASE_URL, lambda path: document(caller, path))
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "iss": BASE_URL,
        "sub": "shop.tail.example",
        "aud": AUDIENCE,
        "iat": int(WALL),
        "nbf": int(WALL),
        "exp": int(WALL + LIFETIME),
        "key": NODE.text(),
        "nid": 1,
        "node": "shop.tail.example",
        "addresses": ["100.64.0.1", "fd7a:115c:a1e0::1"],
        "domain": "tail.example",
        "user": "tail.example:user@tail.example",
        "uid": 1,
    }


def test_a_tagged_node_has_tags_in_place_of_an_owner() -> None:
    caller = Caller()
    caller.register()
    member = caller.wire.tailnet.find(NODE)
    assert member is not None
    caller.wire.tailnet.change(member, tags=("tag:web", "tag:eu"))
    claims = verified(token_of(caller), BASE_URL, lambda path: document(caller, path))
    assert claims["tags"] == ["tail.example:tag:web", "tail.example:tag:eu"]
    assert not claims.keys() & {"user", "uid"}


def test_each_token_has_an_id_of_its_own() -> None:
    caller = Caller()
    caller.register()
    ids = {verified(token_of(caller), BASE_URL, lambda path: document(caller, path))["jti"] for _ in range(3)}
    assert len(ids) == 3


def test_what_is_changed_in_a_token_or_signed_by_another_control_does_not_verify() -> None:
    caller = Caller()
    caller.register()
    token = token_of(caller)
    other = Server(
        new_tailnet(), MachinePrivateKey(b"\x44" * 32), entropy=entropy(1), base_url=BASE_URL, wall_offset=WALL
    )
    stranger = Caller(Wire(other))
    header, claims, signature = token.split(".")
    with pytest.raises(InvalidSignature):
        verified(f"{header}.{claims[:-4]}AAAA.{signature}", BASE_URL, lambda path: document(caller, path))
    with pytest.raises(KeyError):  # there is no key of that id
        verified(token, BASE_URL, lambda path: document(stranger, path))


def test_the_key_is_the_same_after_a_restart_of_control() -> None:
    one, other = Caller(), Caller()
    one.register()
    assert verified(token_of(one), BASE_URL, lambda path: document(other, path))


@pytest.mark.parametrize("audience", ["", "x" * (MAX_AUDIENCE + 1)])
def test_a_token_for_nobody_or_for_a_novel_is_refused(audience: str) -> None:
    caller = Caller()
    caller.register()
    assert ask(caller, audience)[0] == 400


def test_what_is_no_request_is_refused() -> None:
    caller = Caller()
    for body in (b"", b"[]", b'{"Audience":"a"}', b'{"Audience":7,"NodeKey":"nodekey:00"}'):
        assert caller.call(ID_TOKEN_PATH, body)[0] == 400
    assert caller.call(ID_TOKEN_PATH, b"", "GET")[0] == 404


def test_nobody_gets_a_token_for_a_node_that_is_not_its_own_or_not_valid() -> None:
    caller = Caller()
    assert ask(caller)[0] == 404
    caller.register()
    thief = Caller(Wire(caller.wire.server, Link("accepted", "", 2)), number=2)
    status, body = ask(thief)
    assert (status, body) == (403, b"this node key belongs to another machine\n")
    member = caller.wire.tailnet.find(NODE)
    assert member is not None
    caller.wire.tailnet.expire(member, WALL)
    assert ask(caller) == (403, b"the key of this node has expired\n")


def test_a_node_fetches_its_token_over_the_connection_that_it_has() -> None:
    house = House()
    node = house.up("shop")
    control = house.tailnet._control
    assert control is not None
    server = control.machine
    assert isinstance(server, Server)
    links = len(server._connections)
    pages = server._pages
    token = house.finish(node.issue_id_token(AUDIENCE, 5))
    claims = verified(token, server.base_url, lambda path: pages.show("GET", path)[1])
    assert claims["sub"] == f"shop.{house.tailnet.base_domain}"
    assert claims["addresses"] == [str(address) for address in node.node.addresses]
    assert claims["exp"] > house.world.wall() > claims["iat"] - 2
    assert len(server._connections) == links
