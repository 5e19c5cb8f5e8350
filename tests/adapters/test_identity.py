from __future__ import annotations

from ipaddress import ip_address

import pytest

from tsnet.adapters.identity import (
    admission,
    current_peer,
    peer_of_request,
    refusal,
    same_user,
    strip_environ,
    strip_headers,
)
from tsnet.errors import ConfigError
from tsnet.netmap.whois import Peer

ANN = Peer("laptop", (ip_address("100.64.0.2"),), "ann@example.com", "Ann")
ANNS_PHONE = Peer("phone", (ip_address("100.64.0.4"),), "ann@example.com", "Ann")
BOB = Peer("desk", (ip_address("100.64.0.3"),), "bob@example.com", "Bob")
CI = Peer("runner", (ip_address("100.64.0.5"),), "tagged-devices", "Tagged Devices", ("tag:ci", "tag:linux"))
NAMELESS = Peer("new", (ip_address("100.64.0.6"),), "", "")


def test_outside_a_request_there_is_no_peer() -> None:
    assert current_peer() is None
    token = peer_of_request.set(ANN)
    assert current_peer() is ANN
    peer_of_request.reset(token)
    assert current_peer() is None


@pytest.mark.parametrize(
    ("allow", "let_in"),
    [
        (None, [ANN, BOB, CI, NAMELESS, None]),
        ([], []),
        ("ann@example.com", [ANN]),
        (["ann@example.com", "tag:ci"], [ANN, CI]),
        ({"tag:linux"}, [CI]),
        ({"tagged-devices": 1}, []),
        (lambda peer: peer.name.startswith("d"), [BOB]),
        (lambda peer: True, [ANN, BOB, CI, NAMELESS]),
    ],
)
def test_allow_lets_in_those_it_names(allow: object, let_in: list[Peer | None]) -> None:
    check = admission(allow)  # type: ignore[arg-type]
    assert [peer for peer in (ANN, BOB, CI, NAMELESS, None) if check(peer)] == let_in


@pytest.mark.parametrize("allow", [[""], [None], [3], 5, True])
def test_a_name_that_can_name_nobody_is_refused_at_once(allow: object) -> None:
    with pytest.raises(ConfigError, match="logins"):
        admission(allow)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "owner", "same"),
    [
        (ANNS_PHONE, ANN, True),
        (BOB, ANN, False),
        (CI, CI, False),
        (ANN, CI, False),
        (None, ANN, False),
        (ANN, None, False),
        (NAMELESS, NAMELESS, False),
    ],
)
def test_same_user_means_the_same_person(peer: Peer | None, owner: Peer | None, same: bool) -> None:
    assert same_user(peer, owner) is same


SPELLINGS = [
    "Tailscale-User-Login",
    "tailscale-user-login",
    "TAILSCALE-USER-NAME",
    "Tailscale_User_Login",
    "tAiLsCaLe-X",
]


@pytest.mark.parametrize("name", SPELLINGS)
def test_identity_headers_go_in_every_spelling(name: str) -> None:
    kept = (b"x-tailscale-ish", b"1")
    assert strip_headers([(name.encode(), b"mallory"), kept]) == [kept]
    environ = {"HTTP_" + name.upper().replace("-", "_"): "mallory", "HTTP_HOST": "shop", "PATH_INFO": "/"}
    assert strip_environ(environ) == {"HTTP_HOST": "shop", "PATH_INFO": "/"}


def test_other_headers_stay_as_they_are() -> None:
    headers = [(b"Host", b"shop"), (b"host", b"twice"), (b"tailscal", b"e")]
    assert strip_headers(headers) == headers


def test_a_refusal_names_the_caller() -> None:
    assert "no node" in refusal(None)
    assert "desk (bob@example.com)" in refusal(BOB)
    assert "runner (tag:ci, tag:linux)" in refusal(CI)
    assert "new (its user)" in refusal(NAMELESS)
