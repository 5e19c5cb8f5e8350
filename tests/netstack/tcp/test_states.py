"""The transition table, walked."""

from __future__ import annotations

from netstack.tcp import states


def test_every_close_ends_closed_or_in_time_wait() -> None:
    seen: set[int] = set()
    todo = [states.ESTABLISHED]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += states.CLOSING_HANDSHAKE.get(state, {}).values()
    assert {state for state in seen if state not in states.CLOSING_HANDSHAKE} == {states.CLOSED, states.TIME_WAIT}
    assert seen == {states.CLOSED, states.TIME_WAIT} | states.SYNCHRONIZED


def test_names_and_numbers_agree() -> None:
    for number, name in enumerate(states.NAMES):
        assert getattr(states, name) == number


def test_sets_hold_what_they_say() -> None:
    assert states.RECEIVING < states.SYNCHRONIZED
    assert states.SENDING < states.SYNCHRONIZED
    assert {states.CLOSED, states.LISTEN, states.SYN_SENT, states.SYN_RECEIVED, states.TIME_WAIT}.isdisjoint(
        states.SYNCHRONIZED
    )
