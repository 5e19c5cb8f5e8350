"""Every state by every piece of news, and what whoever waits is told."""

from __future__ import annotations

import itertools

import pytest

from tsnet.engine.lifecycle import TABLE, Lifecycle, News, State
from tsnet.errors import (
    AuthKeyRejected,
    ControlUnreachable,
    Error,
    KeyExpired,
    NeedsApproval,
    NeedsLogin,
    NotUp,
    UpTimeout,
)

URL = "http://control.test/login/7"
WHY = AuthKeyRejected("http://control.test", "it is spent")

UNAPPROVED = NeedsApproval("an administrator must approve of shop")

WAYS: dict[State, tuple[News, ...]] = {
    State.STOPPED: (),
    State.STARTING: (News.STARTED,),
    State.NEEDS_LOGIN: (News.STARTED, News.LOGIN_WANTED),
    State.NEEDS_APPROVAL: (News.STARTED, News.APPROVAL_WANTED),
    State.RUNNING: (News.STARTED, News.RUNNING),
    State.EXPIRED: (News.STARTED, News.RUNNING, News.EXPIRED),
    State.LOGGED_OUT: (News.STARTED, News.LOGGED_OUT),
    State.FAILED: (News.STARTED, News.REFUSED),
    State.CLOSING: (News.STARTED, News.CLOSING),
    State.CLOSED: (News.STARTED, News.CLOSING, News.CLOSED),
}

# Columns as in News: STARTED LOGIN_BEGUN LOGGED_OUT LOGIN_WANTED APPROVAL_WANTED RUNNING EXPIRED REFUSED LOST CLOSING
# CLOSED; "." is no change.
EXPECTED = {
    State.STOPPED: "starting . . . . . . . . closing closed",
    State.STARTING: ". . logged-out needs-login needs-approval running expired failed failed closing closed",
    State.NEEDS_LOGIN: ". starting logged-out needs-login needs-approval running . failed failed closing closed",
    State.NEEDS_APPROVAL: ". . logged-out . needs-approval running expired failed failed closing closed",
    State.RUNNING: ". . logged-out . needs-approval running expired failed failed closing closed",
    State.EXPIRED: ". starting logged-out needs-login needs-approval running expired failed failed closing closed",
    State.LOGGED_OUT: ". starting . . . . . . failed closing closed",
    State.FAILED: (
        "starting starting logged-out needs-login needs-approval running expired failed failed closing closed"
    ),
    State.CLOSING: ". . . . . . . . closed . closed",
    State.CLOSED: ". . . . . . . . . . .",
}


def life(state: State = State.STOPPED) -> Lifecycle:
    made = Lifecycle("shop", "http://control.test")
    for news in WAYS[state]:
        tell(made, news)
    assert made.state is state
    return made


def tell(made: Lifecycle, news: News) -> None:
    if news is News.LOGIN_WANTED:
        made.login_wanted(URL, False)
    else:
        made.told(news, {News.REFUSED: WHY, News.LOST: WHY, News.APPROVAL_WANTED: UNAPPROVED}.get(news))


@pytest.mark.parametrize(("state", "news"), list(itertools.product(State, News)))
def test_every_state_by_every_news(state: State, news: News) -> None:
    made = life(state)
    tell(made, news)
    expected = EXPECTED[state].split()[list(News).index(news)]
    assert made.state.value == (state.value if expected == "." else expected)


def test_only_closed_is_for_ever() -> None:
    """From every other state, news that may still come lead to `running`, or the application has let the node go."""
    for state in set(State) - {State.CLOSING, State.CLOSED}:
        reached, before = {state}, set[State]()
        while reached != before:
            before = set(reached)
            reached |= {after for one in before for after in TABLE[one].values()}
        assert State.RUNNING in reached


REFUSALS: dict[State, type[Error] | None] = {
    State.STOPPED: None,
    State.STARTING: None,
    State.NEEDS_LOGIN: NeedsLogin,
    State.NEEDS_APPROVAL: None,
    State.RUNNING: None,
    State.EXPIRED: KeyExpired,
    State.LOGGED_OUT: NeedsLogin,
    State.FAILED: AuthKeyRejected,
    State.CLOSING: NotUp,
    State.CLOSED: NotUp,
}


@pytest.mark.parametrize("state", list(State))
def test_what_whoever_waits_is_told_at_once(state: State) -> None:
    refusal, expected = life(state).refusal(), REFUSALS[state]
    assert refusal is None if expected is None else type(refusal) is expected
    assert life(state).can_start is (state in (State.STOPPED, State.FAILED))
    assert life(state).is_over is (state in (State.CLOSING, State.CLOSED))
    assert life(state).is_running is (state is State.RUNNING)


def test_a_person_who_may_come_is_waited_for() -> None:
    made = life(State.STARTING)
    made.login_wanted(URL, True)
    assert made.refusal() is None
    late = made.too_late(5, "")
    assert isinstance(late, NeedsLogin)
    assert late.url == URL
    assert "within 5 s" in str(late)


def test_an_approval_is_waited_for_but_not_by_a_dial() -> None:
    made = life(State.NEEDS_APPROVAL)
    assert made.refusal() is None
    assert made.dial_refusal() is UNAPPROVED
    made.troubled(ControlUnreachable("nothing answers"))
    assert made.too_late(5, "") is UNAPPROVED
    made.told(News.RUNNING)
    assert made.dial_refusal() is None
    assert isinstance(made.too_late(5, ""), UpTimeout)
    assert isinstance(life(State.EXPIRED).dial_refusal(), KeyExpired)


def test_an_old_error_does_not_outlive_its_state() -> None:
    made = life(State.FAILED)
    assert made.refusal() is WHY
    made.told(News.STARTED)
    assert made.refusal() is None
    made.told(News.LOST, NotUp("it broke"))
    assert "it broke" in str(made.refusal())
    made.told(News.RUNNING)
    assert made.refusal() is None
    made.told(News.EXPIRED)
    assert "shop" in str(made.refusal())
    made.told(News.RUNNING)
    assert made.refusal() is None


def test_who_waited_too_long_is_told_what_stands_in_the_way() -> None:
    made = life(State.STARTING)
    plain = made.too_late(7, "waiting for control")
    assert isinstance(plain, UpTimeout)
    assert "after 7 s, waiting for control" in str(plain)
    trouble = ControlUnreachable("nothing answers")
    assert made.troubled(trouble)
    assert not made.troubled(ControlUnreachable("nothing answers"))
    assert made.too_late(7, "") is not plain
    assert str(made.too_late(7, "")) == "nothing answers"
    made.is_well()
    assert isinstance(made.too_late(7, ""), UpTimeout)
    assert made.troubled(trouble)


def test_trouble_ends_where_control_answers_that_a_person_is_wanted() -> None:
    made = life(State.STARTING)
    made.troubled(ControlUnreachable("nothing answers"))
    made.login_wanted(URL, True)
    assert isinstance(made.too_late(7, ""), NeedsLogin)


@pytest.mark.parametrize("expiry_first", [True, False])
def test_nobody_who_came_is_what_an_expired_node_waited_for(expiry_first: bool) -> None:
    life, expired = Lifecycle("shop", "https://control.test"), KeyExpired("the key of shop has expired")

    def expire() -> None:
        life.troubled(expired)
        life.told(News.EXPIRED, expired)

    life.told(News.STARTED)
    if expiry_first:
        expire()
    life.login_wanted("https://control.test/a/1", somebody_is_there=True)
    if not expiry_first:
        expire()
    assert life.state is State.NEEDS_LOGIN
    error = life.too_late(5, "waiting for a person")
    assert isinstance(error, NeedsLogin)
    assert "visit https://control.test/a/1" in str(error)


def test_trouble_ends_where_the_node_runs() -> None:
    made = life(State.STARTING)
    made.login_wanted(URL, True)
    made.troubled(ControlUnreachable("nothing answers"))
    made.told(News.RUNNING)
    assert (made.trouble, made.login_url) == (None, "")
