"""Running is told once, and again after an expiry or a refusal."""

from __future__ import annotations

import pytest

from tests.engine.alone import NOW, A, B, bare, running
from tests.engine.pair import netmap
from tsnet.control.client import facts as told
from tsnet.engine import facts
from tsnet.errors import (
    KeyExpired,
)


def test_an_expired_key_stops_new_work_and_a_new_one_starts_it() -> None:
    some = running()
    some.word.tell(told.KeyExpired(), NOW)
    problem, expired = some.take_facts()
    assert isinstance(problem, facts.Problem)
    assert isinstance(problem.error, KeyExpired)
    assert expired == facts.Expired(problem.error)
    with pytest.raises(KeyExpired):
        some.calls.listen(80, None)
    some.word.tell(told.KeyExtended(), NOW)
    some.calls.listen(80, None)


def test_an_extended_key_meets_every_peer_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    some, lost = running(), list[float]()
    monkeypatch.setattr(some.engine, "sessions_lost", lost.append)
    some.word.tell(told.KeyExpired(), NOW)
    assert lost == []
    some.word.tell(told.KeyExtended(), NOW + 5)
    assert lost == [NOW + 5]


def test_with_an_expired_key_the_first_netmap_is_no_start_until_it_is_extended() -> None:
    some = bare()
    some.word.tell(told.KeyExpired(), NOW)
    some.word.tell(told.NetMapChanged(netmap(A, B)), NOW)
    assert not any(isinstance(fact, facts.Running) for fact in some.take_facts())
    with pytest.raises(KeyExpired):
        some.calls.listen(80, None)
    some.word.tell(told.KeyExtended(), NOW)
    some.word.tell(told.NetMapChanged(netmap(A, B)), NOW)
    assert [fact for fact in some.take_facts() if isinstance(fact, facts.Running)] == [facts.Running(netmap(A, B))]
    some.calls.listen(80, None)
