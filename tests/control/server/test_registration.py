"""Every line of the decision table of /machine/register."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.control.server.test_tailnet import NOW, admit, key, machine
from tsnet.control.messages import LOGOUT_EXPIRY, RegisterRequest, RegisterResponse
from tsnet.control.server.policy import Policy
from tsnet.control.server.registration import MAX_HOSTNAME, register
from tsnet.control.server.tailnet import PendingLogin, TailnetState
from tsnet.netmap.whois import TAGGED_DEVICES

OWNERS = Policy.parse([{"src": ["*"], "dst": ["*:*"]}], {"tag:web": ["alice@example.com"]})


class Desk:
    """A tailnet, and requests of machine 1 with node key 1 unless said otherwise."""

    def __init__(self) -> None:
        self.net = TailnetState(entropy=random.Random(2).randbytes, base_domain="tail.example", policy=OWNERS)
        self.now = NOW

    def ask(self, number: int = 1, *, of_machine: int = 1, **fields: Any) -> RegisterResponse | None:
        hostinfo = {"Hostname": "shop", **fields.pop("hostinfo", {})}
        if tags := fields.pop("tags", None):
            hostinfo["RequestTags"] = tags
        request = RegisterRequest(key(number), version=131, hostinfo=hostinfo, **fields)
        return register(self.net, machine(of_machine), request, "https://ctl/a/{}".format, self.now)

    def key(self, user: str = "alice@example.com", **options: Any) -> str:
        return self.net.create_auth_key(user, **options).text

    def login_id(self, response: RegisterResponse | None) -> str:
        assert response is not None
        assert response.auth_url.startswith("https://ctl/a/")
        return response.auth_url.removeprefix("https://ctl/a/")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def is_welcome(response: RegisterResponse | None, login: str = "alice@example.com") -> bool:
    assert response is not None
    assert (response.error, response.auth_url, response.node_key_expired) == ("", "", False)
    return response.machine_authorized and response.user.login_name == login


def test_a_good_key_lets_a_node_in(desk: Desk) -> None:
    assert is_welcome(desk.ask(auth_key=desk.key()))
    member = desk.net.find(key(1))
    assert member is not None
    assert (member.name, member.machine, member.capability_version) == ("shop", machine(1), 131)
    assert not member.is_ephemeral


@pytest.mark.parametrize(("by_key", "by_request"), [(True, False), (False, True)])
def test_key_or_node_may_ask_for_an_ephemeral_life(desk: Desk, by_key: bool, by_request: bool) -> None:
    desk.ask(auth_key=desk.key(ephemeral=by_key), ephemeral=by_request)
    assert desk.net.members[1].is_ephemeral


def test_a_bad_key_is_an_error_and_makes_no_node(desk: Desk) -> None:
    spent = desk.key()
    assert is_welcome(desk.ask(auth_key=spent))
    for text, reason in (("nonsense", "invalid auth key"), (spent, "auth key already used")):
        response = desk.ask(2, of_machine=2, auth_key=text)
        assert response is not None
        assert response.error == reason
    assert len(desk.net.members) == 1


def test_a_known_node_is_welcome_with_its_spent_key_or_none(desk: Desk) -> None:
    spent = desk.key()
    desk.ask(auth_key=spent)
    assert is_welcome(desk.ask(auth_key=spent))
    assert is_welcome(desk.ask(hostinfo={"OS": "linux"}))
    assert desk.net.members[1].hostinfo["OS"] == "linux"


def test_a_node_key_of_another_machine_is_refused(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    response = desk.ask(of_machine=2, auth_key=desk.key())
    assert response is not None
    assert "another machine" in response.error


def test_logout_wins_over_everything(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    response = desk.ask(auth_key=desk.key(), expiry=LOGOUT_EXPIRY)
    assert response is not None
    assert response.node_key_expired
    assert desk.net.members[1].is_expired(desk.now)


def test_logout_of_an_ephemeral_node_deletes_it(desk: Desk) -> None:
    desk.ask(auth_key=desk.key(), ephemeral=True)
    desk.ask(expiry=LOGOUT_EXPIRY)
    assert not desk.net.members
    response = desk.ask(expiry=LOGOUT_EXPIRY)
    assert response is not None
    assert (response.node_key_expired, response.error) == (True, "")


def test_an_expired_key_must_be_renewed_and_stays_the_same_node(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    desk.net.expire(desk.net.members[1], desk.now)
    response = desk.ask(auth_key=desk.key())
    assert response is not None
    assert response.node_key_expired
    assert is_welcome(desk.ask(2, old_node_key=key(1), auth_key=desk.key()))
    assert list(desk.net.members) == [1]
    assert not desk.net.members[1].is_expired(desk.now)


def test_an_expiry_may_be_brought_nearer_but_not_put_off(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    for asked, kept in ((NOW + 100, NOW + 100), (NOW + 200, NOW + 100), (NOW + 50, NOW + 50), (None, NOW + 50)):
        assert is_welcome(desk.ask(expiry=asked))
        assert desk.net.members[1].key_expiry == kept
    desk.now = NOW + 50
    response = desk.ask()
    assert response is not None
    assert response.node_key_expired


def test_the_same_machine_and_user_is_the_same_node(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    assert is_welcome(desk.ask(2, auth_key=desk.key()))
    assert list(desk.net.members) == [1]
    assert desk.net.find(key(1)) is None


def test_another_user_on_the_same_machine_is_another_node(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    assert is_welcome(desk.ask(2, old_node_key=key(1), auth_key=desk.key("bob@example.com")), "bob@example.com")
    assert [member.name for member in desk.net.members.values()] == ["shop", "shop-1"]


def test_an_old_key_of_another_machine_is_worth_nothing(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    assert is_welcome(desk.ask(2, of_machine=2, old_node_key=key(1), auth_key=desk.key()))
    assert len(desk.net.members) == 2


# --- tags ---------------------------------------------------------------------------------------------------------


def test_a_tagged_key_tags(desk: Desk) -> None:
    assert is_welcome(desk.ask(auth_key=desk.key(tags=["tag:db", "tag:prod"])), "tagged-devices")
    assert desk.net.members[1].tags == ("tag:db", "tag:prod")
    assert desk.net.members[1].user == TAGGED_DEVICES.id


def test_a_node_may_ask_for_fewer_of_the_keys_tags(desk: Desk) -> None:
    desk.ask(auth_key=desk.key(tags=["tag:db", "tag:prod"]), tags=["tag:db"])
    assert desk.net.members[1].tags == ("tag:db",)


def test_an_owner_may_tag(desk: Desk) -> None:
    assert is_welcome(desk.ask(auth_key=desk.key(), tags=["tag:web"]), "tagged-devices")


@pytest.mark.parametrize(("user", "tags"), [("bob@example.com", ["tag:web"]), ("alice@example.com", ["tag:db"])])
def test_others_may_not(desk: Desk, user: str, tags: list[str]) -> None:
    auth_key = desk.key(user)
    response = desk.ask(auth_key=auth_key, tags=tags)
    assert response is not None
    assert response.error == f"requested tags [{tags[0]}] are invalid or not permitted"
    assert not desk.net.members
    assert is_welcome(desk.ask(auth_key=auth_key), user), "the key was not used up"


def test_a_known_node_may_become_tagged(desk: Desk) -> None:
    desk.ask(auth_key=desk.key())
    assert is_welcome(desk.ask(tags=["tag:web"]), "tagged-devices")
    assert is_welcome(desk.ask(tags=["tag:web"]), "tagged-devices")
    assert desk.net.members[1].tags == ("tag:web",)
    response = desk.ask(tags=["tag:db"])
    assert response is not None
    assert "tag:db" in response.error


# --- a person -----------------------------------------------------------------------------------------------------


def test_without_a_key_a_person_is_asked_and_awaited(desk: Desk) -> None:
    response = desk.ask()
    auth_id = desk.login_id(response)
    assert response is not None
    assert desk.ask(followup=response.auth_url) is None
    assert not desk.net.members
    desk.net.approve(auth_id, "carol@example.com")
    assert is_welcome(desk.ask(followup=response.auth_url), "carol@example.com")
    assert not desk.net.logins


def test_the_same_page_for_the_same_key(desk: Desk) -> None:
    assert desk.login_id(desk.ask()) == desk.login_id(desk.ask())
    assert desk.login_id(desk.ask(2)) != desk.login_id(desk.ask())


class Unwalked(dict[str, PendingLogin]):
    """A table in which one can look something up, and no more."""

    def values(self) -> Any:
        raise AssertionError("a thousand strangers who wait make a thousand walks through this")


def test_whoever_waits_for_a_person_is_found_without_a_walk_through_all_who_do(desk: Desk) -> None:
    response = desk.ask()
    desk.net.logins = Unwalked(desk.net.logins)
    assert response is not None
    assert desk.ask(followup=response.auth_url) is None
    desk.net.approve(desk.login_id(response), "carol@example.com")
    assert is_welcome(desk.ask(followup=response.auth_url), "carol@example.com")


def test_an_approval_counts_without_followup_too(desk: Desk) -> None:
    desk.net.approve(desk.login_id(desk.ask()), "carol@example.com")
    assert is_welcome(desk.ask(), "carol@example.com")


def test_a_rejection_is_an_error(desk: Desk) -> None:
    response = desk.ask()
    desk.net.reject(desk.login_id(response), "not today")
    assert response is not None
    refused = desk.ask(followup=response.auth_url)
    assert refused is not None
    assert refused.error == "not today"


def test_a_login_is_of_one_machine_and_key(desk: Desk) -> None:
    response = desk.ask()
    auth_id = desk.login_id(response)
    desk.net.approve(auth_id, "carol@example.com")
    assert response is not None
    for number, of_machine in ((2, 1), (1, 2), (2, 2)):
        thief = desk.ask(number, of_machine=of_machine, followup=response.auth_url)
        assert desk.login_id(thief) != auth_id
    assert not desk.net.members


def test_an_unknown_page_gives_a_new_one(desk: Desk) -> None:
    assert desk.login_id(desk.ask(followup="https://ctl/a/nobody"))


def test_a_person_may_renew_an_old_node(desk: Desk) -> None:
    admit(desk.net, 1)
    desk.net.approve(desk.login_id(desk.ask(2, old_node_key=key(1))), "alice@example.com")
    assert is_welcome(desk.ask(2, old_node_key=key(1)))
    assert list(desk.net.members) == [1]


def test_strangers_cannot_make_the_logins_that_wait_large(desk: Desk) -> None:
    response = desk.ask(hostinfo={"Hostname": "x" * 500_000})
    assert len(desk.net.logins[desk.login_id(response)].hostname) == MAX_HOSTNAME


# --- approval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "preauthorized"), [(False, False), (False, True), (True, True), (True, False)])
def test_a_new_node_waits_for_approval_where_it_is_wanted(desk: Desk, wanted: bool, preauthorized: bool) -> None:
    desk.net.wants_approval = wanted
    response = desk.ask(auth_key=desk.key(preauthorized=preauthorized))
    assert response is not None
    assert response.machine_authorized == desk.net.members[1].is_authorized == (preauthorized or not wanted)


def test_a_node_stays_approved_with_its_next_key(desk: Desk) -> None:
    desk.net.wants_approval = True
    desk.ask(auth_key=desk.key())
    desk.net.authorize(desk.net.members[1])
    assert is_welcome(desk.ask())
    assert is_welcome(desk.ask(2, old_node_key=key(1), auth_key=desk.key()))


def test_a_preauthorized_key_gives_a_waiting_node_its_approval(desk: Desk) -> None:
    desk.net.wants_approval = True
    desk.ask(auth_key=desk.key())
    response = desk.ask(2, old_node_key=key(1), auth_key=desk.key(preauthorized=True))
    assert response is not None
    assert response.machine_authorized
    assert desk.net.members[1].is_authorized


def test_a_rotation_does_not_get_round_the_approval(desk: Desk) -> None:
    desk.net.wants_approval = True
    desk.ask(auth_key=desk.key())
    response = desk.ask(2, old_node_key=key(1), auth_key=desk.key())
    assert response is not None
    assert not response.machine_authorized
