from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.attacks.bombs import BOMBS
from tests.control.scripted import NODE_KEY, PEER, SELF, WALL, WELCOME, Scripted, problem
from tsnet.base.crypto import node_public
from tsnet.base.keys import DiscoKey
from tsnet.base.links import Computed
from tsnet.control.client import facts
from tsnet.control.client.backoff import PEACE
from tsnet.control.client.maproutine import DUPLICATE_PAUSE
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MapResponse, RegisterResponse
from tsnet.errors import AuthKeyRejected
from tsnet.netmap.merge import DerpMapUpdate, MapUpdate
from tsnet.netmap.model import DerpNode, DerpRegion, UserProfile

KEEP_ALIVE = MapResponse(keep_alive=True)


# --- the map stream ---------------------------------------------------------------------------------------------


def test_two_minutes_without_a_word_end_the_connection() -> None:
    control = Scripted()
    control.join()
    for _ in range(5):
        control.wind(100)
        control.send_map(KEEP_ALIVE)
    assert control.told(facts.Disconnected) == []
    control.wind(119.9)
    assert control.told(facts.Disconnected) == []
    control.wind(0.2)
    assert len(control.told(facts.Disconnected)) == 1
    control.wind(1)
    assert control.waits("poll")


def test_the_watchdog_covers_the_first_byte() -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", WELCOME.encode())
    control.wind(121)
    assert len([one for one in control.opens if one.link[1] == "noise"]) == 2


def test_a_stream_that_ends_begins_again_on_the_same_connection() -> None:
    control = Scripted()
    control.join()
    control.send(b"", end=True)
    control.wind(1)
    assert control.waits("poll")
    assert len(control.opens) == 2
    assert control.told(facts.Disconnected) == []


def test_a_first_message_without_node_is_refused() -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", WELCOME.encode())
    control.send_map(MapResponse(MapUpdate(peers=(PEER,))))
    assert control._client.dropped["map-refused"] == 1
    assert not problem(control).fatal
    control.wind(1)
    assert control.waits("poll")


@pytest.mark.parametrize("message", [b"not json", b"\x28\xb5\x2f\xfd\x00\x58", b"\x28\xb5\x2f\xfd" + bytes(9), b"[]"])
def test_a_bad_message_costs_the_stream_and_is_counted(message: bytes) -> None:
    control = Scripted()
    client = control.join()
    control.send(len(message).to_bytes(4, "little") + message)
    assert client.dropped == {"map-refused": 1}
    control.wind(1)
    control.send_map(MapResponse(MapUpdate(node=SELF, domain="again")))
    assert control.netmap.domain == "again"


def test_other_answers_on_the_connection_do_not_put_the_watchdog_off() -> None:
    control = Scripted()
    client = control.join()
    for number in range(1, 4):
        control.wind(39)
        client.set_net_info({"PreferredDERP": number}, control.now)
        control.run()
        assert control.updates[-1].hostinfo["NetInfo"] == {"PreferredDERP": number}
        assert control.told(facts.Disconnected) == []
    control.wind(4)
    assert len(control.told(facts.Disconnected)) == 1


def test_a_bomb_is_refused_and_counted() -> None:
    from backports import zstd

    control = Scripted()
    client = control.join()
    bomb = zstd.compress(bytes((64 << 20) + 1), level=1)
    control.send(len(bomb).to_bytes(4, "little") + bomb)
    assert client.dropped == {"map-refused": 1}
    assert "67108865" in str(problem(control).error)


def test_what_becomes_too_much_is_refused_and_told_and_the_last_map_stays() -> None:
    control = Scripted()
    client = control.join()
    before = control.netmap
    control.send(encode_frame(BOMBS["routes"](), compress=True))
    assert client.dropped == {"map-refused": 1}
    assert control.netmap == before
    (health,) = control.told(facts.MapHealth)
    assert re.fullmatch(
        r"control's map message is refused \(.* more than 48 MiB of memory\); the map before it stays", health.message
    )
    control.wind(1)
    control.send_map(MapResponse(MapUpdate(node=SELF, domain="again")))
    assert control.netmap.domain == "again"
    assert control.told(facts.MapHealth)[1:] == [facts.MapHealth("")]


def test_a_large_map_is_decoded_elsewhere_and_what_follows_waits_for_it() -> None:
    control = Scripted()
    client = control.join()
    computes: list[Any] = []
    control.compute = computes.append
    large = MapResponse(MapUpdate(peers=tuple(attrs.evolve(PEER, id=number) for number in range(2, 900))))
    control.send_map(large)
    control.send_map(MapResponse(MapUpdate(domain="after")))
    assert len(computes) == 1
    assert control.netmap.domain == ""
    control.wind(500)  # the watchdog rests meanwhile
    (effect,) = computes
    client.receive(Computed(effect.link, effect.run()), control.now)
    control.run()
    assert len(control.netmap.peers) == 898
    assert control.netmap.domain == "after"


def test_a_large_map_that_is_malformed_is_refused() -> None:
    control = Scripted()
    client = control.join()
    effects: list[Any] = []
    control.compute = effects.append
    control.send(encode_frame(b"{" + bytes(300_000), compress=True))
    client.receive(Computed(effects[0].link, ValueError("no")), control.now)
    control.run()
    assert client.dropped == {"map-refused": 1}


def test_sleep_leaves_control_alone_for_a_while() -> None:
    control = Scripted()
    control.join()
    control.send_map(MapResponse(MapUpdate(domain="d"), sleep=30.0))
    assert control.netmap.domain == "d"
    assert not control.waits("poll")
    control.wind(29)
    assert not control.waits("poll")
    control.wind(2)
    assert control.waits("poll")


def test_sleep_has_a_limit() -> None:
    control = Scripted()
    control.join()
    control.send_map(MapResponse(MapUpdate(domain="d"), sleep=1e9))
    control.wind(301)
    assert control.waits("poll")


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_poll_that_fails_otherwise_is_tried_again_without_a_new_login(status: int) -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", WELCOME.encode())
    control.answer("poll", b"why", status)
    assert not problem(control).fatal
    control.wind(1)
    assert control.waits("poll")
    assert not control.waits("register")


# --- two of the same key ----------------------------------------------------------------------------------------


def test_our_node_with_a_foreign_disco_key_is_a_duplicate() -> None:
    control = Scripted()
    control.join()
    foreign = MapResponse(MapUpdate(node=attrs.evolve(SELF, disco_key=DiscoKey(b"\x09" * 32))))
    control.send_map(foreign)
    control.send_map(foreign)
    assert len(control.told(facts.DuplicateNode)) == 1


def test_the_disco_key_of_our_last_process_is_no_duplicate() -> None:
    control = Scripted()
    control.join(netmap=MapUpdate(node=attrs.evolve(SELF, disco_key=DiscoKey(b"\x09" * 32))))
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.DuplicateNode) == []


def test_a_stream_ended_three_times_in_a_minute_is_a_duplicate_and_we_slow_down() -> None:
    control = Scripted()
    control.join()
    for _ in range(2):
        control.send(b"", end=True)
        control.wind(1)
        control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.DuplicateNode) == []
    control.send(b"", end=True)
    assert len(control.told(facts.DuplicateNode)) == 1
    control.wind(DUPLICATE_PAUSE - 1)
    assert not control.waits("poll")
    control.wind(DUPLICATE_PAUSE + 1)
    assert control.waits("poll")


def test_streams_that_end_now_and_then_are_not() -> None:
    control = Scripted()
    control.join()
    for _ in range(6):
        control.wind(40)
        control.send(b"", end=True)
        control.wind(1)
        control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert control.told(facts.DuplicateNode) == []


# --- a control that keeps us busy -------------------------------------------------------------------------------


def polled(control: Scripted, seconds: float, answer: Callable[[], None], step: float = 0.005) -> int:
    """How many polls were answered in that while, each at once by `answer`."""
    until, count = control.now + seconds, 0
    while control.now < until:
        if control.waits("poll"):
            count += 1
            answer()
        else:
            control.wind(step)
    return count


def test_a_link_that_is_cut_after_each_first_map_is_opened_less_and_less() -> None:
    control = Scripted()
    control.join()
    control.asked.clear()

    def answer() -> None:
        control.send_map(MapResponse(MapUpdate(node=SELF)))
        control.cut()

    assert polled(control, 6, answer) < 20
    assert len(control.asked) < 50
    control.wind(60)
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    control.wind(PEACE)  # after that it is as if nothing had been
    control.cut()
    control.wind(0.1)
    assert control.waits("poll")


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(MapResponse(MapUpdate(domain="d"), sleep=0.001), id="sleeps no time"),
        pytest.param(MapResponse(MapUpdate(domain="d"), sleep=1e-9), id="sleeps even less"),
    ],
)
def test_sleeps_of_no_length_are_no_way_to_keep_us_polling(last: MapResponse) -> None:
    control = Scripted()
    control.join()

    def answer() -> None:
        control.send_map(MapResponse(MapUpdate(node=SELF)))
        control.send_map(last)

    control.send_map(last)
    assert polled(control, 6, answer) < 20


def test_a_good_map_before_a_bad_message_does_not_begin_the_backoff_anew() -> None:
    control = Scripted()
    client = control.join()

    def answer() -> None:
        control.send_map(MapResponse(MapUpdate(node=SELF)))
        control.send(b"\x02\0\0\0{x")

    control.send(b"\x02\0\0\0{x")
    assert polled(control, 6, answer) < 20
    assert client.dropped["map-refused"] < 20


def test_first_messages_without_node_are_asked_for_less_and_less() -> None:
    control = Scripted()
    client = control.join(netmap=MapUpdate(node=SELF, domain="d"))
    control.send(b"", end=True)

    def answer() -> None:
        control.send_map(MapResponse(MapUpdate(peers=(PEER,))))

    assert polled(control, 600, answer, step=0.1) < 70
    assert not any(told.fatal for told in control.told(facts.Problem))
    assert control.netmap.domain == "d"
    assert len(control.opens) == 2
    control.wind(60)
    control.send_map(MapResponse(MapUpdate(node=SELF)))
    assert client.dropped.keys() == {"map-refused"}


# --- what control asks for --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_poll_waits_as_told_whatever_happens_meanwhile(status: int) -> None:
    control = Scripted()
    client = control.join()
    control.send(b"", end=True)
    control.wind(1)
    control.asked.clear()
    control.answer("poll", b"busy", status, retry_after="20")
    control.wind(5)
    control.cut()
    client.retry(control.now)
    control.wind(14.9)
    assert "/machine/map" not in [path for _at, path in control.asked]
    control.wind(2.2)
    assert control.waits("poll")


# --- a new stream that lacks things -----------------------------------------------------------------------------


@pytest.mark.parametrize("said", [None, DerpMapUpdate({})])
def test_a_new_stream_without_relays_keeps_them(said: DerpMapUpdate | None) -> None:
    control = Scripted()
    regions = {900: DerpRegion(900, nodes=(DerpNode("900a", 900, "127.0.0.1"),))}
    control.join(netmap=MapUpdate(node=SELF, derp_map=DerpMapUpdate(regions)))
    control.cut()
    control.wind(1)
    control.send_map(MapResponse(MapUpdate(node=SELF, derp_map=said)))
    assert control.netmap.derp_map.regions == regions


# --- an expired key ---------------------------------------------------------------------------------------------

EXPIRED = attrs.evolve(SELF, key_expiry=WALL - 5)
EXTENDED = attrs.evolve(SELF, key_expiry=WALL + 1e6)
LOGIN_URL = "https://control.example/a/1"


def restarted(**options: Any) -> Scripted:
    """A process whose node's key has expired while it was away; its login waits at a URL."""
    control = Scripted()
    control.client(enrolled=True, **options)
    control.run()
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    control.answer("register", RegisterResponse(auth_url=LOGIN_URL).encode())
    assert control.told(facts.LoginUrl) == [facts.LoginUrl(LOGIN_URL)]
    return control


def test_an_expired_key_is_followed_while_a_login_waits_and_goes_on_once_extended() -> None:
    control = restarted()
    poll, login = control.find("poll").map, control.find("register").register
    assert (poll.node_key, login.followup) == (NODE_KEY, LOGIN_URL)
    assert login.node_key != NODE_KEY
    control.send_map(MapResponse(MapUpdate(node=EXPIRED, users=(UserProfile(1, "u@example.com"),))))
    assert control.told(facts.KeyExpired)
    assert not control.told(facts.LoggedIn)
    control.wind(100)
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert control.told(facts.KeyExtended)
    assert control.told(facts.LoggedIn) == [facts.LoggedIn(UserProfile(1, "u@example.com"))]
    assert not control.told(facts.NodeKeyRotated)
    assert not control.waits("register")
    assert control.updates[-1].node_key == NODE_KEY
    control.wind(119)
    assert control.waits("poll")
    assert not control.waits("register")


def test_a_key_that_was_extended_before_we_looked() -> None:
    control = restarted()
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert control.told(facts.LoggedIn)
    assert not control.waits("register")


def test_a_person_who_logs_the_node_in_wins_over_the_old_key() -> None:
    control = restarted()
    control.send_map(MapResponse(MapUpdate(node=EXPIRED)))
    control.answer("register", WELCOME.encode())
    (rotated,) = control.told(facts.NodeKeyRotated)
    assert control.find("poll").map.node_key == node_public(rotated.private)
    control.send_map(MapResponse(MapUpdate(node=attrs.evolve(SELF, key=node_public(rotated.private)))))
    assert control.told(facts.KeyExtended)
    assert not control.waits("register")


def test_an_auth_key_that_is_refused_is_fatal_and_the_old_key_followed_on() -> None:
    control = Scripted()
    client = control.client(auth_key="spent", enrolled=True)
    control.run()
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert not control.waits("poll")  # not before this attempt has its answer
    control.answer("register", RegisterResponse(error="authkey already used").encode())
    assert isinstance(problem(control).error, AuthKeyRejected)
    assert problem(control).fatal
    control.send_map(MapResponse(MapUpdate(node=EXPIRED)))
    control.wind(60)
    client.retry(control.now)
    control.run()
    assert control.find("register").register.node_key == NODE_KEY
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    assert control.find("register").register.auth_key == "spent"
    control.answer("register", RegisterResponse(error="authkey already used").encode())
    assert len([told for told in control.told(facts.Problem) if told.fatal]) == 2
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert control.told(facts.LoggedIn)
    assert not control.waits("register")


def test_an_answer_that_is_under_way_is_let_be() -> None:
    """It may bring a new key at the very moment in which the old one is extended."""
    control = restarted()
    control.send_map(MapResponse(MapUpdate(node=EXPIRED)))
    control._client.login(control.now, "key")
    control.run()
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert control.find("register").register.auth_key == "key"
    control.answer("register", RegisterResponse(error="no").encode())
    assert control.told(facts.LoggedIn)
    control.wind(1)
    assert control.waits("poll")


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_control_that_serves_no_expired_key_is_asked_slowly_by_both_ways(status: int) -> None:
    control = restarted()
    control.asked.clear()
    until = control.now + 3600
    while control.now < until:
        if control.waits("poll"):
            control.answer("poll", b"expired", status)
        recheck = [one for one in control.waiting if one.kind == "register" and not one.register.followup]
        for one in recheck:
            assert (one.register.node_key, one.register.auth_key, one.register.old_node_key) == (NODE_KEY, "", None)
            control.reply(one, RegisterResponse(node_key_expired=True).encode())
        control.wind(1)
    asked = [path for _at, path in control.asked]
    assert 10 < asked.count("/machine/map") < 40
    assert 10 < asked.count("/machine/register") < 60
    assert not any(told.fatal for told in control.told(facts.Problem))
    assert not control.told(facts.NodeRemoved)
    control.wind(300)
    control.answer("poll", b"expired", status)
    (recheck_,) = [one for one in control.waiting if not one.register.followup]
    control.reply(recheck_, WELCOME.encode())
    assert control.told(facts.LoggedIn) == [facts.LoggedIn(WELCOME.user)]
    assert not control.waits("register")
    assert control.waits("poll")


def test_whoever_waits_need_not_wait_for_minutes() -> None:
    control = restarted()
    control.answer("poll", b"expired", 401)
    control.wind(1)
    assert not control.waits("poll")
    control._client.retry(control.now)
    control.run()
    assert control.waits("poll")


def test_a_running_node_whose_key_expires_follows_its_map_until_it_is_extended() -> None:
    control = Scripted()
    control.join()
    control.send_map(MapResponse(MapUpdate(node=EXPIRED)))
    control.send(b"", end=True)
    control.wind(1)
    control.answer("poll", b"expired", 401)
    control.wind(29)
    assert not control.waits("poll")
    assert not control.told(facts.NodeRemoved)
    control.answer("register", RegisterResponse(node_key_expired=True).encode())
    control.wind(32)
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert [type(fact) for fact in control.facts if isinstance(fact, facts.KeyExpired | facts.KeyExtended)] == [
        facts.KeyExpired,
        facts.KeyExtended,
    ]


@pytest.mark.parametrize(
    ("body", "status"), [(RegisterResponse(auth_url=LOGIN_URL).encode(), 200), (b"node not found", 404)]
)
def test_an_expired_node_that_is_deleted_is_told(body: bytes, status: int) -> None:
    control = Scripted()
    control.join(netmap=MapUpdate(node=EXPIRED))
    control.send(b"", end=True)
    control.wind(1)
    control.answer("poll", b"node not found", 404)
    assert not control.told(facts.NodeRemoved)
    control.answer("register", body, status)
    assert control.told(facts.NodeRemoved)


def test_a_login_because_of_an_expired_key_is_given_up_when_it_is_extended() -> None:
    control = Scripted()
    client = control.join(netmap=MapUpdate(node=EXPIRED))
    client.login(control.now)
    control.run()
    control.answer("register", RegisterResponse(auth_url=LOGIN_URL).encode())
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert not control.waits("register")
    assert len(control.told(facts.LoggedIn)) == 1


def test_a_login_for_another_reason_is_not() -> None:
    control = Scripted()
    client = control.join()
    client.login(control.now)
    control.run()
    control.answer("register", RegisterResponse(auth_url=LOGIN_URL).encode())
    control.send_map(MapResponse(MapUpdate(node=EXTENDED)))
    assert control.waits("register")


def test_a_login_of_a_running_node_that_is_refused_leaves_it_running() -> None:
    control = Scripted()
    client = control.join()
    client.login(control.now, "bad")
    control.run()
    control.answer("register", RegisterResponse(error="no").encode())
    assert not problem(control).fatal
    [ended] = control.told(facts.LoginEnded)
    assert ended.error == problem(control).error
    assert control.waits("poll")
    control.send_map(MapResponse(MapUpdate(domain="d")))
    assert control.netmap.domain == "d"
