from __future__ import annotations

import json

import attrs
import pytest

from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.control.client.c2n import MAX_ANSWER, MAX_SHOWN_PEERS, Shown, answer
from tsnet.netmap.merge import MapUpdate, begin
from tsnet.netmap.model import NetMap, Node, UserProfile

ECHO = b"POST /echo HTTP/1.1\r\nHost: c2n\r\nContent-Length: 5\r\n\r\nhello"


def peer(number: int) -> Node:
    return Node(number, f"n{number}", f"n{number}.tail.example", NodeKey(number.to_bytes(32)))


def begun(peers: tuple[Node, ...]) -> NetMap:
    return begin(None, MapUpdate(node=peer(1), peers=peers), 0.0)


def ask(method: str, target: str, shown: Shown | None = None) -> tuple[int, bytes]:
    head, _, body = answer(f"{method} {target} HTTP/1.1\r\nHost: c2n\r\n\r\n".encode(), shown).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_echo_gives_the_body_back() -> None:
    head, _, body = answer(ECHO).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Length: 5" in head
    assert body == b"hello"


@pytest.mark.parametrize("request_line", [b"GET /echo HTTP/1.1", b"PUT /echo?x=1 HTTP/1.1", b"GET /echo HTTP/1.0"])
def test_echo_takes_any_method(request_line: bytes) -> None:
    assert answer(request_line + b"\r\nHost: c2n\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", ["/", "/echo/", "/wol", "/ssh/usernames", "/debug", "/remoteapi/v0/status"])
def test_other_paths_are_unknown(path: str) -> None:
    assert ask("GET", path) == (400, b"unknown c2n path\n")


SHOWN = Shown(begun(peers=(peer(2), peer(3))), ("the relay is gone",))

ANSWERS: list[tuple[str, str, int, object]] = [
    ("GET", "/update", 200, {"Enabled": False, "Supported": False, "Started": False}),
    ("GET", "/posture/identity?hwaddrs=true", 200, {"PostureDisabled": True}),
    ("GET", "/tls-cert-status?domain=a.example", 200, {"Error": "no certificate", "Missing": True}),
    ("GET", "/tls-cert-status", 400, b"no 'domain'\n"),
    ("GET", "/debug/rejects", 200, {"Enabled": False, "Outgoing": [], "Incoming": []}),
    ("GET", "/debug/tka/log?limit=60", 400, b"tailnet lock not active\n"),
    ("PATCH", "/remoteapi/localapi/v0/prefs", 403, b"remote config not enabled by local machine\n"),
    ("GET", "/vip-services", 200, {"ServicesHash": ""}),
    ("GET", "/appconnector/routes", 200, {"Domains": None}),
    ("POST", "/logtail/flush", 500, b"no log flusher wired up\n"),
    ("POST", "/sockstats", 500, b"no sockstatLogger\n"),
    ("POST", "/netfilter-kind?kind=iptables", 501, b"not available in this node\n"),
    *(
        ("GET", f"/debug/{name}", 501, b"not available in this node\n")
        for name in ("goroutines", "prefs", "metrics", "component-logging", "logheap", "pprof/heap", "pprof/allocs")
    ),
    *(
        (method, path, 405, b"bad method\n")
        for method, path in [
            ("PUT", "/update"),
            ("POST", "/posture/identity"),
            ("POST", "/vip-services"),
            ("GET", "/logtail/flush"),
            ("GET", "/netfilter-kind"),
            ("PUT", "/debug/netmap"),
            ("POST", "/debug/rejects"),
        ]
    ),
]


@pytest.mark.parametrize(("method", "target", "status", "said"), ANSWERS, ids=[f"{a} {b}" for a, b, _, _ in ANSWERS])
def test_each_path_has_its_answer(method: str, target: str, status: int, said: object) -> None:
    found, body = ask(method, target)
    assert (found, body if isinstance(said, bytes) else json.loads(body)) == (status, said)


def test_an_update_is_refused_and_says_so() -> None:
    status, body = ask("POST", "/update")
    found = json.loads(body)
    assert (status, found["Started"], found["Supported"]) == (200, False, False)
    assert "does not update" in found["Err"]


def test_health_is_what_this_node_finds() -> None:
    (warning,) = json.loads(ask("GET", "/debug/health", SHOWN)[1])["Warnings"].values()
    assert warning["Text"] == "the relay is gone"
    assert json.loads(ask("GET", "/debug/health")[1]) == {"Warnings": {}}


def test_the_netmap_is_what_control_sent_and_holds_no_private_key() -> None:
    status, body = ask("GET", "/debug/netmap", SHOWN)
    current = json.loads(body)["Current"]
    assert status == 200
    assert [found["ID"] for found in current["Peers"]] == [2, 3]
    assert b"privkey:" not in body
    assert json.loads(ask("POST", "/debug/netmap")[1]) == {"Current": None}


def test_a_long_netmap_is_not_shown() -> None:
    many = begun(peers=tuple(peer(number) for number in range(2, MAX_SHOWN_PEERS + 4)))
    assert ask("GET", "/debug/netmap", Shown(many)) == (501, b"too long to be shown\n")
    users = {number: UserProfile(number, f"{number}@example.com") for number in range(MAX_SHOWN_PEERS + 1)}
    assert ask("GET", "/debug/netmap", Shown(attrs.evolve(begun((peer(2),)), users=users)))[0] == 501
    heavy = tuple(attrs.evolve(peer(number), hostinfo={"a": ["x" * 100] * 1000}) for number in range(2, 50))
    assert ask("GET", "/debug/netmap", Shown(begun(heavy)))[0] == 501
    wordy = Shown(None, ("x" * MAX_ANSWER,))
    assert ask("GET", "/debug/health", wordy)[0] == 501


@pytest.mark.parametrize("length", range(len(ECHO)))
def test_a_request_cut_short_is_malformed(length: int) -> None:
    with pytest.raises(MalformedError):
        answer(ECHO[:length])


@pytest.mark.parametrize("payload", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\0" * 100])
def test_what_is_no_http_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        answer(payload)
