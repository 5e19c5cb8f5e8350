from __future__ import annotations

import json

import pytest

from tests.control.server.test_tailnet import NOW, key, machine, tailnet
from tsnet.control.server.pages import Pages
from tsnet.control.server.tailnet import TailnetState


def pages(net: TailnetState | None = None) -> Pages:
    return Pages(net or tailnet(), machine(9), {"/.well-known/other": b"{}"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/key", 200),
        ("HEAD", "/key", 200),
        ("GET", "/generate_204", 204),
        ("GET", "/health", 200),
        ("GET", "/.well-known/other", 200),
        ("GET", "/a/nobody", 404),
        ("GET", "/", 404),
        ("POST", "/key", 404),
        ("DELETE", "/a/nobody", 404),
    ],
)
def test_each_page(method: str, path: str, status: int) -> None:
    assert pages().show(method, path)[0] == status


def test_the_key_is_ours() -> None:
    assert json.loads(pages().show("GET", "/key")[1])["publicKey"] == machine(9).text()


def test_a_login_says_who_waits_and_approves_nothing() -> None:
    net = tailnet()
    login = net.begin_login(machine(1), key(1), "shop", NOW)
    status, body, _headers = pages(net).show("GET", f"/a/{login.auth_id}")
    assert (status, login.user) == (200, None)
    assert b"'shop'" in body
    assert login.auth_id.encode() in body
