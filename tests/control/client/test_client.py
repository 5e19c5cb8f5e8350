from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.control.scripted import CONTROL, DISCO_KEY, NODE_KEY, PEER, SELF, URL, WALL, WELCOME, Scripted, problem
from tests.traces import Traced
from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import machine_public
from tsnet.base.keys import MachineKey, MachinePrivateKey
from tsnet.base.links import Close, Closed, Computed, Link, Open, Opened, Received, Tls
from tsnet.control.client import facts
from tsnet.control.client.mappoll import MESSAGES_A_TURN
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import CAPABILITY_VERSION, MapResponse, PingRequest, RegisterResponse
from tsnet.errors import (
    AuthKeyRejected,
    ControlCertificateError,
    ControlUnreachable,
    NotAControlServer,
    RemoteError,
)
from tsnet.netmap.merge import MapUpdate

# --- joining ----------------------------------------------------------------------------------------------------


def test_a_join_from_nothing_to_the_first_map() -> None:
    control = Scripted()
    control.join(netmap=MapUpdate(node=SELF, peers=(PEER,)))
    assert [type(fact).__name__ for fact in control.facts] == [
        "ControlKey",
        "LoggedIn",
        "Published",
        "Connected",
        "NetMapChanged",
    ]
    assert control.netmap.peers == {2: PEER}


def test_both_links_go_to_the_urls_own_host_port_and_scheme() -> None:
    control = Scripted()
    control.join()
    assert [(one.link[1], one.hosts, one.port, one.tls) for one in control.opens] == [
        ("key", ("control.example",), 8443, Tls("control.example")),
        ("noise", ("control.example",), 8443, Tls("control.example")),
    ]


def test_plain_http_is_plain() -> None:
    control = Scripted()
    control.join(url="http://127.0.0.1:8080")
    assert [(one.port, one.tls) for one in control.opens] == [(8080, None), (8080, None)]


def test_the_registration_says_what_the_node_is() -> None:
    control = Scripted()
    control.client(auth_key="tskey", ephemeral=True, hostinfo={"Hostname": "shop", "RequestTags": ["tag:x"]})
    control.run()
    request = control.find("register").register
    assert (request.node_key, request.auth_key, request.ephemeral) == (NODE_KEY, "tskey", True)
    assert (request.version, request.hostinfo["RequestTags"]) == (CAPABILITY_VERSION, ["tag:x"])
    assert request.old_node_key is None


def test_poll_and_update_carry_everything() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    client.set_net_info({"PreferredDERP": 900}, control.now)
    client.set_endpoints([(UdpAddress("1.2.3.4", 5), 1)], control.now)
    control.run()
    control.answer("register", WELCOME.encode())
    poll, (update,) = control.find("poll").map, control.updates
    for request in (poll, update):
        assert (request.disco_key, request.node_key, request.compress) == (DISCO_KEY, NODE_KEY, True)
        assert request.hostinfo == {"Hostname": "shop", "NetInfo": {"PreferredDERP": 900}}
        assert (request.endpoints, request.endpoint_types) == ((UdpAddress("1.2.3.4", 5),), (1,))
    assert (poll.stream, poll.omit_peers, update.stream, update.omit_peers) == (True, False, False, True)


def test_the_home_goes_out_at_once_on_the_same_connection() -> None:
    control = Scripted()
    client = control.join()
    client.set_net_info({"PreferredDERP": 900}, control.now)
    effects = client.transmit(control.now)
    assert len(effects) == 1
    control._perform(effects[0])
    control.run()
    assert control.updates[-1].hostinfo["NetInfo"] == {"PreferredDERP": 900}
    assert control.told(facts.Published)[-1].home_region == 900
    assert len(control.opens) == 2


def test_an_enrolled_node_shows_its_auth_key_only_if_control_asks() -> None:
    control = Scripted()
    control.client(auth_key="key", enrolled=True)
    control.run()
    assert control.find("register").register.auth_key == ""
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    assert control.find("register").register.auth_key == "key"
    assert control.told(facts.LoginUrl) == []
    control.answer("register", WELCOME.encode())
    assert control.told(facts.LoggedIn) == [facts.LoggedIn(WELCOME.user)]


def test_a_known_node_asks_for_its_map_together_with_its_first_registration() -> None:
    control = Scripted()
    client = control.client(auth_key="key", enrolled=True)
    client.set_net_info({"PreferredDERP": 900}, control.now)
    control.run()
    assert control.waits("register")
    assert control.waits("poll")
    assert control.updates[-1].hostinfo["NetInfo"] == {"PreferredDERP": 900}
    control.answer("register", WELCOME.encode())
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.Published)[0].home_region == 900
    assert control.told(facts.NetMapChanged)
    control.cut()
    control.wind(60)
    assert control.waits("poll")
    assert not control.waits("register")


def test_a_map_that_comes_before_the_registration_is_answered_is_taken() -> None:
    control = Scripted()
    control.client(auth_key="key", enrolled=True)
    control.run()
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.NetMapChanged)
    control.answer("register", WELCOME.encode())
    assert control.waits("poll")
    assert control.told(facts.LoggedIn)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_map_that_control_refuses_before_it_has_accepted_us_is_no_trouble(status: int) -> None:
    control = Scripted()
    control.client(auth_key="key", enrolled=True)
    control.run()
    control.answer("poll", b"node not found", status)
    assert not control.told(facts.Problem) + control.told(facts.NodeRemoved)
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/1").encode())
    assert control.find("register").register.auth_key == "key"
    assert not control.waits("poll")
    control.answer("register", WELCOME.encode())
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.NetMapChanged)


@pytest.mark.parametrize("answer", [RegisterResponse(error="no"), RegisterResponse(node_key_expired=True)])
def test_a_registration_that_is_not_accepted_ends_what_was_asked_with_it(answer: RegisterResponse) -> None:
    control = Scripted()
    control.client(enrolled=True)
    control.run()
    control.answer("register", answer.encode())
    assert not control.waits("poll")


def test_plain_maps_are_read_too() -> None:
    control = Scripted()
    control.join()
    control.send_map(MapResponse(MapUpdate(domain="d")), compress=False)
    assert control.netmap.domain == "d"


# --- what cannot succeed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, RegisterResponse(error="authkey already used").encode()),
        (401, b"authkey already used\n"),
        (401, RegisterResponse(error="authkey already used").encode()),
    ],
)
def test_a_key_that_is_refused_is_fatal_and_not_tried_again(status: int, body: bytes) -> None:
    control = Scripted()
    client = control.client(auth_key="tskey-auth-hidden")
    control.run()
    control.answer("register", body, status)
    assert problem(control).fatal
    error = problem(control).error
    assert isinstance(error, AuthKeyRejected)
    assert (error.control_url, error.reason) == (URL, "authkey already used")
    assert "hidden" not in repr(control.facts) + repr(client) + str(error)
    opened = len(control.opens)
    control.wind(3600)
    assert len(control.opens) == opened
    assert control.peers == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            b'{"User":{"ID":0},"NodeKeyExpired":false,"MachineAuthorized":false,"AuthURL":"","Error":""}',
            "HTTP status 401",
        ),
        (b"{no JSON", "{no JSON"),
        (b"", "HTTP status 401"),
    ],
)
def test_a_refusal_that_says_nothing(body: bytes, reason: str) -> None:
    """Headscale 0.23 refuses an auth key by a RegisterResponse with an empty Error."""
    control = Scripted()
    control.client(auth_key="tskey-auth-hidden")
    control.run()
    control.answer("register", body, 401)
    error = problem(control).error
    assert isinstance(error, AuthKeyRejected)
    assert error.reason == reason


def test_after_a_fatal_problem_login_starts_again() -> None:
    control = Scripted()
    client = control.client(auth_key="bad")
    control.run()
    control.answer("register", RegisterResponse(error="no").encode())
    client.login(control.now, "good")
    control.run()
    assert control.find("register").register.auth_key == "good"
    control.answer("register", WELCOME.encode())
    assert control.told(facts.LoggedIn)


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_server_that_will_not_have_this_client(status: int) -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", b"unsupported client version", status)
    assert problem(control).fatal
    assert isinstance(problem(control).error, RemoteError)
    assert "unsupported client version" in str(problem(control).error)


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ((404, b"<html>not found", {}), NotAControlServer),
        ((200, b"<html>welcome", {}), NotAControlServer),
        ((301, b"", {"Location": "https://elsewhere.example/key"}), NotAControlServer),
        ((403, b"", {}), NotAControlServer),
    ],
)
def test_what_is_no_control_server_is_fatal(page: tuple[int, bytes, dict[str, str]], error: type[Exception]) -> None:
    control = Scripted()
    control.pages["/key"] = page
    control.client(auth_key="key")
    control.wind(3600)
    (only,) = control.told(facts.Problem)
    assert only.fatal
    assert isinstance(only.error, error)
    assert URL in str(only.error)


@pytest.mark.parametrize("garbage", [b"{}", b"\x00\xff", b'{"publicKey": "mkey:'])
def test_an_answer_that_was_garbled_once_is_asked_for_again(garbage: bytes) -> None:
    control = Scripted()
    good, control.pages["/key"] = control.pages["/key"], (200, garbage, {})
    control.client(auth_key="key")
    control.run()
    control.pages["/key"] = good
    control.wind(5)
    assert control.waits("register")
    assert control.told(facts.Problem) == []


@pytest.mark.parametrize("enrolled", [True, False])
def test_an_answer_that_stays_garbled_ends_a_node_that_control_does_not_know(enrolled: bool) -> None:
    control = Scripted()
    control.pages["/key"] = (200, b"{}", {})
    control.client(auth_key="key", enrolled=enrolled)
    control.wind(3600)
    found = control.told(facts.Problem)
    assert all(isinstance(one.error, NotAControlServer) for one in found)
    if enrolled:
        assert not any(one.fatal for one in found)
        assert len(found) > 100
    else:
        assert [one.fatal for one in found] == [True], "its three tries are told of once"


def test_a_server_without_ts2021_is_fatal() -> None:
    control = Scripted()
    control.pages["/ts2021"] = (404, b"", {})
    control.client(auth_key="key")
    control.run()
    assert problem(control).fatal
    assert isinstance(problem(control).error, NotAControlServer)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("certificate: expired", "clock"),
        ("certificate: not yet valid", "clock"),
        ("certificate: self-signed certificate", "SSL_CERT_FILE"),
        ("certificate: unable to get local issuer certificate", "ssl_context="),
    ],
)
def test_certificates_have_their_remedy(reason: str, word: str) -> None:
    control = Scripted()
    control.refuse = reason
    control.client(auth_key="key")
    control.wind(60)
    assert problem(control).fatal
    assert isinstance(problem(control).error, ControlCertificateError)
    assert word in str(problem(control).error)
    asks = reason.startswith("certificate: self-signed")  # whether it is a login page
    assert [opened.port for opened in control.opens] == [8443, 8443, *[80] * asks]


def test_a_pinned_key_must_be_the_servers() -> None:
    control = Scripted()
    control.client(auth_key="key", control_key=MachineKey(b"\x09" * 32))
    control.wind(60)
    assert problem(control).fatal
    assert isinstance(problem(control).error, NotAControlServer)
    assert "control_key=" in str(problem(control).error)
    control = Scripted()
    control.join(control_key=machine_public(CONTROL))
    assert control.told(facts.Connected)


# --- what can: unreachable, restarted, limited ------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["refused", "dns", "timeout", "unreachable", "reset", "eof", "tls: handshake eof"])
def test_an_unreachable_server_is_told_and_tried_again(reason: str) -> None:
    control = Scripted()
    control.refuse = reason
    control.client(auth_key="key")
    control.wind(5)
    assert len(control.told(facts.Problem)) > 3
    assert not any(one.fatal for one in control.told(facts.Problem))
    assert isinstance(problem(control).error, ControlUnreachable)
    control.refuse = ""
    control.wind(60)
    assert control.waits("register")


def test_the_backoff_grows_to_half_a_minute_and_stays() -> None:
    control = Scripted()
    control.refuse = "refused"
    control.client(auth_key="key")
    control.wind(3600)
    attempts = len(control.told(facts.Problem))
    assert 120 < attempts < 250
    control.wind(3600)
    assert 80 <= len(control.told(facts.Problem)) - attempts <= 240


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_server_that_is_unwell_is_tried_again(status: int) -> None:
    control = Scripted()
    good = control.pages["/key"]
    control.pages["/key"] = (status, b"", {})
    control.client(auth_key="key")
    control.wind(2)
    assert not problem(control).fatal
    control.pages["/key"] = good
    control.wind(60)
    assert control.waits("register")


def test_a_server_that_says_nothing_is_told_of_after_4_seconds_and_waited_for() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    client.transmit(control.now)
    assert client.why() == "slow_at"
    control.now += 4
    client.transmit(control.now)
    assert client.deadline() > control.now
    (told,) = client.take_facts()
    assert isinstance(told, facts.Problem)
    assert not told.fatal
    assert isinstance(told.error, ControlUnreachable)
    assert "no answer so far" in str(told.error)
    assert client.why() == "ready_by"


def test_a_server_that_says_nothing_is_left_after_15_seconds() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    client.transmit(control.now)
    control.now += 15
    client.transmit(control.now)
    (told,) = client.take_facts()
    assert isinstance(told, facts.Problem)
    assert "no answer in time" in str(told.error)


def test_a_registration_nobody_answers_is_tried_on_another_connection() -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.wind(61)
    assert control.waits("register")
    assert len(control.told(facts.Problem)) == 1


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"), [("7", 7, 7.7), ("0", 5, 10), ("99999", 270, 300), ("x", 5, 10)]
)
def test_a_rate_limit_is_honoured(header: str, at_least: float, at_most: float) -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", b"slow down", 429, retry_after=header)
    assert not problem(control).fatal
    control.wind(at_least - 0.01)
    assert not control.waits("register")
    control.wind(at_most - at_least + 0.02)
    assert control.waits("register")


@pytest.mark.parametrize(("status", "body"), [(500, b""), (200, b"not json"), (503, b"busy")])
def test_a_registration_that_fails_for_now_is_tried_again(status: int, body: bytes) -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", body, status)
    assert not problem(control).fatal
    control.wind(1)
    assert control.waits("register")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("path", ["/key", "/ts2021"])
def test_what_a_server_asks_for_before_a_request_can_be_made_is_honoured(path: str, status: int) -> None:
    control = Scripted()
    good = control.pages[path]
    control.pages[path] = (status, b"", {"Retry-After": "20"})
    client = control.client(auth_key="key")
    control.run()
    assert not problem(control).fatal
    control.pages[path] = good
    control.asked.clear()
    client.retry(control.now)
    control.wind(19.9)
    assert control.asked == []
    control.wind(2.2)
    assert control.waits("register")


@pytest.mark.parametrize("status", [429, 503])
def test_a_registration_waits_as_told(status: int) -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.asked.clear()
    control.answer("register", b"", status, retry_after="20")
    control.wind(10)
    control.cut()
    control.wind(9.9)
    assert "/machine/register" not in [path for _at, path in control.asked]
    control.wind(2.2)
    assert control.waits("register")


@pytest.mark.parametrize("status", [429, 503])
def test_an_update_waits_as_told_though_there_is_news(status: int) -> None:
    control = Scripted()
    client = control.join()
    control.updates_pass = False
    client.set_net_info({"PreferredDERP": 900}, control.now)
    control.run()
    control.answer("update", b"", status, retry_after="20")
    client.set_net_info({"PreferredDERP": 901}, control.now)
    control.send_map(MapResponse(MapUpdate(control_time=WALL)))  # does it still know us?
    control.wind(19.9)
    assert not control.waits("update")
    control.wind(2.2)
    assert control.find("update").map.hostinfo["NetInfo"] == {"PreferredDERP": 901}


@pytest.mark.parametrize("reason", ["certificate: not yet valid", "certificate: expired"])
def test_what_was_fatal_at_the_start_is_tried_anew_when_somebody_asks(reason: str) -> None:
    """A machine that boots before its clock is set."""
    control = Scripted()
    control.refuse = reason
    client = control.client(auth_key="key")
    for times in (1, 2):
        client.retry(control.now)
        control.wind(60)
        assert [told.fatal for told in control.told(facts.Problem)] == [True] * times
    control.refuse = ""
    control.wind(600)
    assert control.peers == {}  # nobody asks
    client.retry(control.now)
    control.run()
    assert control.find("register").register.auth_key == "key"


def test_a_hopeless_answer_is_fatal_again_after_a_retry() -> None:
    """Else `up` would wait in vain for a node that control has deleted, and then moved away."""
    control = Scripted()
    client = control.join()
    control.send(b"", end=True)
    control.wind(1)
    control.answer("poll", b"node not found", 404)
    control.pages["/key"] = (404, b"<html>", {})
    client.retry(control.now)
    control.run()
    assert isinstance(problem(control).error, NotAControlServer)
    assert problem(control).fatal


def test_a_restart_of_control_is_a_gap_and_a_whole_new_map() -> None:
    control = Scripted()
    control.join(netmap=MapUpdate(node=SELF, peers=(PEER,)))
    control.refuse = "refused"
    control.cut("eof")
    assert control.told(facts.Disconnected) == [facts.Disconnected("eof")]
    control.wind(3)
    control.refuse = ""
    control.wind(60)
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.netmap.peers == {}
    assert [type(fact) for fact in control.facts].count(facts.Connected) == 2
    assert len(control.told(facts.LoggedIn)) == 1  # no second registration


def test_what_we_say_of_ourselves_is_said_again_if_the_connection_took_it_away() -> None:
    control = Scripted()
    client = control.join()
    control.updates_pass = False
    client.set_net_info({"PreferredDERP": 900}, control.now)
    control.run()
    control.cut()
    control.updates_pass = True
    control.wind(5)
    assert control.told(facts.Published)[-1].home_region == 900


def test_another_server_key_after_a_reinstall_is_learnt() -> None:
    control = Scripted()
    control.join()
    other = MachinePrivateKey(b"\x23" * 32)
    key = b'{"publicKey":"' + machine_public(other).text().encode() + b'"}'
    control.pages["/key"] = (200, key, {})
    control.pages["/ts2021"] = (400, b"bad handshake", {})
    control.cut()
    control.wind(5)
    control.key_private, control.pages["/ts2021"] = other, (101, b"", {})
    control.wind(60)
    assert control.waits("poll")
    assert not any(one.fatal for one in control.told(facts.Problem))


def test_a_proxy_page_during_a_restart_is_not_fatal() -> None:
    control = Scripted()
    control.join()
    control.pages["/ts2021"] = control.pages["/key"] = (404, b"<html>", {})
    control.cut()
    control.wind(10)
    assert not any(one.fatal for one in control.told(facts.Problem))


# --- pings ------------------------------------------------------------------------------------------------------


def test_c2n_is_answered_on_the_channel() -> None:
    control = Scripted()
    control.join()
    ping = PingRequest("https://unused/c2n/token", types="c2n", payload=b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    control.send_map(MapResponse(keep_alive=True, ping=ping))
    body = control.find("/c2n/token").request.body
    assert body.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_head_over_a_link_of_its_own() -> None:
    control = Scripted()
    control.join()
    ping = PingRequest(f"{URL}/machine/ping-response?id=1")
    control.send_map(MapResponse(keep_alive=True, ping=ping))
    control.send_map(MapResponse(keep_alive=True, ping=ping))  # the same URL once
    assert control.heads == ["/machine/ping-response?id=1"]
    assert {link[1] for link in control.peers} == {"noise"}


def test_a_ping_is_handed_out_and_its_answer_posted() -> None:
    control = Scripted()
    client = control.join()
    ping = PingRequest(f"{URL}/p", url_is_noise=True, types="TSMP", ip="100.64.0.2")
    control.send_map(MapResponse(keep_alive=True, ping=ping))
    assert control.told(facts.PingRequested) == [facts.PingRequested(ping)]
    client.answer_ping(ping, {"Type": "TSMP", "LatencySeconds": 0.5}, control.now)
    control.run()
    assert control.find("/p").request.body == b'{"Type":"TSMP","LatencySeconds":0.5}'


def test_a_page_for_a_person_is_told() -> None:
    control = Scripted()
    control.join()
    control.send_map(MapResponse(keep_alive=True, pop_browser_url="https://control.example/x"))
    assert control.told(facts.BrowserRequested) == [facts.BrowserRequested("https://control.example/x")]
    for page in ("x", "y", "y"):
        control.send_map(MapResponse(keep_alive=True, pop_browser_url=f"https://control.example/{page}"))
    assert control.told(facts.BrowserRequested)[1:] == [facts.BrowserRequested("https://control.example/y")], "once"


def test_of_the_pages_that_nobody_has_taken_the_newest_is_told() -> None:
    control = Scripted()
    client = control.join()
    before = len(control.facts)
    frames = (MapResponse(keep_alive=True, pop_browser_url=f"https://control.example/{n}") for n in range(1000))
    control.send(b"".join(encode_frame(frame.encode(), compress=False) for frame in frames))
    told = control.facts[before:]
    assert told[-1] == facts.BrowserRequested("https://control.example/999")
    assert len(told) <= 1000 // MESSAGES_A_TURN + 1, "one a turn"
    assert client.take_facts() == []


# --- the face ---------------------------------------------------------------------------------------------------


def test_events_of_links_long_gone_are_counted() -> None:
    control = Scripted()
    client = control.join()
    old = control.opens[1].link
    control.cut()
    for event in (Opened(old), Received(old, b"x"), Closed(old, "eof"), Computed(Link("control", "map", 1), None)):
        client.receive(event, control.now)
    assert client.dropped["late"] == 4


@pytest.mark.parametrize("budget", [1, 50])
def test_a_small_budget_leaves_the_rest_due(budget: int) -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    first = client.transmit(control.now, budget)
    assert first
    while client.deadline() <= control.now:
        assert client.transmit(control.now, budget) != []
    client.set_net_info({"PreferredDERP": 1}, control.now)
    assert client.deadline() > control.now  # nobody to tell yet


def test_garbage_on_the_channel_ends_it_and_nothing_else() -> None:
    control = Scripted()
    client = control.join()
    link = next(iter(control.peers))
    client.receive(Received(link, bytes(100)), control.now)
    control.run()
    assert len(control.told(facts.Disconnected)) == 1
    control.wind(1)
    assert control.waits("poll")


def test_the_clock_of_the_wall_may_be_set() -> None:
    control = Scripted()
    client = control.join(netmap=MapUpdate(node=attrs.evolve(SELF, key_expiry=WALL + 5000)))
    client.set_wall_offset(WALL - control.now + 6000, control.now)
    control.run()
    assert control.told(facts.KeyExpired)
    client.set_wall_offset(WALL - control.now, control.now)
    control.run()
    assert control.told(facts.KeyExtended)
    control.wind(4999)
    assert len(control.told(facts.KeyExpired)) == 1
    control.wind(2)
    assert len(control.told(facts.KeyExpired)) == 2


def test_two_runs_of_one_seed_are_the_same() -> None:
    def trace() -> str:
        control = Scripted(seed=5)
        control.refuse = "refused"
        control.client(auth_key="key")
        control.wind(20)
        control.refuse = ""
        control.wind(20)
        return repr([(one.link, control.now) for one in control.opens])

    assert trace() == trace()


# --- what is traced ---------------------------------------------------------------------------------------------


def traced(**options: Any) -> tuple[Scripted, Traced]:
    control, told = Scripted(), Traced()
    control.client(trace=told("control"), **options)
    control.run()
    return control, told


def test_a_login_is_traced_step_by_step() -> None:
    control, told = traced(auth_key="tskey-secret")
    control.answer("register", WELCOME.encode())
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    for _ in range(20):
        control.send_map(MapResponse(MapUpdate(peers_changed=(PEER,))))
    assert told.events == [
        "connecting",
        "server key",
        "channel ready",
        "registering",
        "asked",
        "answered",
        "registered",
        "asked",
        "asked",
        "answered",
    ]
    assert told.fields("registering") == [
        {"node_key": NODE_KEY, "with_auth_key": True, "waits_for_a_person": False},
    ]
    assert told.fields("registered") == [{"user": "u@example.com"}]
    assert "tskey-secret" not in str(told.told)


def test_whatever_is_tried_again_tells_when_and_why() -> None:
    control, told = traced(auth_key="key")
    control.answer("register", b"later", 503)
    (failed,) = told.fields("registration failed")
    assert failed["status"] == 503
    control.wind(60)
    control.answer("register", WELCOME.encode())
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    control.send(b"", end=True)
    (ended,) = told.fields("poll ended")
    assert ended["status"] == 200
    control.wind(1)
    control.cut()
    (lost,) = told.fields("connection lost")
    assert lost["why"] == "reset"
    for fields in (failed, ended, lost):
        assert isinstance(fields["again_in"], float)
        assert fields["again_in"] > 0


def test_a_person_and_a_refusal_are_told() -> None:
    control, told = traced()
    control.answer("register", RegisterResponse(auth_url="https://control.example/a/secret").encode())
    assert told.events.count("a person must log in") == 1
    assert told.fields("registering")[-1]["waits_for_a_person"] is True
    control.answer("register", RegisterResponse(error="no such key").encode())
    assert told.fields("control is left alone") == [{"why": "Problem"}]
    assert "a/secret" not in str(told.told)


# --- the network changes ----------------------------------------------------------------------------------------


def test_when_the_network_changes_the_wait_is_over() -> None:
    control = Scripted()
    control.refuse = "unreachable"
    client = control.client(auth_key="key")
    control.wind(600)
    assert client.deadline() > control.now + 2
    control.refuse = ""
    client.network_changed(control.now, anew=False)
    control.run()
    assert control.waits("register")


def test_a_wait_that_control_asked_for_outlasts_a_change() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    control.run()
    control.answer("register", b"slow down", 503, retry_after="60")
    client.network_changed(control.now, anew=True)
    control.run()
    assert not control.waits("register")


def test_a_connection_stays_if_control_answers_and_is_replaced_if_not() -> None:
    control = Scripted()
    client = control.join()
    client.network_changed(control.now, anew=True)
    control.run()
    control.wind(5)
    assert (len(control.opens), control.told(facts.Disconnected)) == (2, [])
    client.network_changed(control.now, anew=False)
    lost = client.transmit(control.now)  # the ping, which nobody carries
    assert len(lost) == 1
    client.transmit(control.now + 0.5)
    assert [fact.reason for fact in client.take_facts() if isinstance(fact, facts.Disconnected)] == [
        "control has not answered since the network changed"
    ]


def test_a_connection_that_is_not_ready_begins_anew_only_if_the_way_is_another() -> None:
    control = Scripted()
    client = control.client(auth_key="key")
    first = [effect for effect in client.transmit(control.now) if isinstance(effect, Open)]
    client.network_changed(control.now, anew=False)
    assert client.transmit(control.now) == []
    client.network_changed(control.now, anew=True)
    second = client.transmit(control.now)
    assert [effect.link for effect in second if isinstance(effect, Close)] == [one.link for one in first]
    again = [effect for effect in second if isinstance(effect, Open)]
    assert [one.link.name for one in again] == [one.link.name for one in first]
    assert not control.told(facts.Problem)


def test_a_wrong_clock_is_told_before_control_lets_anybody_in() -> None:
    control = Scripted()
    status, body, _ = control.pages["/key"]
    control.pages["/key"] = (status, body, {"date": "Fri, 21 Aug 2026 10:40:00 GMT"})
    control.client(auth_key="spent")
    control.run()
    (health,) = (fact for fact in control.facts if isinstance(fact, facts.ControlHealth))
    assert "ahead of control's: check it" in health.messages[0]
    control.answer("register", RegisterResponse(error="auth key expired").encode())
    assert any(isinstance(fact, facts.Problem) for fact in control.facts)
