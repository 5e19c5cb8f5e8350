"""Running is told once, and again after an expiry or a refusal."""

from __future__ import annotations

import attrs
import pytest

from tests.engine.alone import NOW, A, B, bare, running
from tests.engine.pair import netmap
from tsnet.config import DEFAULT_CONTROL_URL
from tsnet.control.client import facts as told
from tsnet.engine import facts
from tsnet.engine.admittance import ADMIN_CONSOLE, needs_approval
from tsnet.engine.node import Node
from tsnet.errors import KeyExpired, NeedsApproval
from tsnet.netmap.model import NetMap, UserProfile

APPROVED = netmap(A, B)
UNAPPROVED = attrs.evolve(netmap(A), self_node=attrs.evolve(A, machine_authorized=False))
ANN = UserProfile(1, "ann@example.com")


def told_by(some: Node, *words: told.Fact) -> list[str]:
    """What of this is told that decides whether it runs."""
    for word in words:
        some.word.tell(word, NOW)
    kinds = (facts.Running, facts.ApprovalPending, facts.Expired)
    return [type(fact).__name__ for fact in some.take_facts() if isinstance(fact, kinds)]


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


# --- approval -------------------------------------------------------------------------------------------------------


def maps(*found: NetMap) -> list[told.Fact]:
    return [told.NetMapChanged(one) for one in found]


def test_a_node_that_nobody_has_approved_of_waits_and_then_runs() -> None:
    some = bare()
    assert told_by(some, told.LoggedIn(ANN, False), *maps(UNAPPROVED, UNAPPROVED)) == ["ApprovalPending"]
    for begin in (lambda: some.calls.listen(80, None), lambda: some.calls.resolve("b")):
        with pytest.raises(NeedsApproval, match="administrator"):
            begin()
    assert told_by(some, *maps(APPROVED)) == ["Running"]
    some.calls.listen(80, None)


def test_an_approval_that_is_taken_back_stops_new_work_after_its_peers_have_left() -> None:
    some = running()
    some.word.tell(told.NetMapChanged(UNAPPROVED), NOW)
    kinds = [type(fact).__name__ for fact in some.take_facts()]
    assert kinds.index("PeerLeft") < kinds.index("ApprovalPending")
    with pytest.raises(NeedsApproval):
        some.calls.resolve("b")
    assert told_by(some, *maps(APPROVED)) == ["Running"]
    assert told_by(some, *maps(UNAPPROVED)) == ["ApprovalPending"]


def test_where_there_is_a_netmap_the_answer_to_a_registration_does_not_matter() -> None:
    assert told_by(running(), told.LoggedIn(ANN, False)) == []
    assert told_by(bare(), told.LoggedIn(ANN, False), *maps(APPROVED)) == ["ApprovalPending", "Running"]


def test_of_an_expired_node_the_expiry_is_told_whatever_its_approval() -> None:
    """Headscale calls a machine not authorized when its key has expired."""
    some = running()
    assert told_by(some, told.KeyExpired(), *maps(UNAPPROVED)) == ["Expired"]
    with pytest.raises(KeyExpired):
        some.calls.listen(80, None)
    assert told_by(some, told.KeyExtended(), *maps(APPROVED)) == ["Running"]
    assert told_by(some, told.KeyExpired(), *maps(UNAPPROVED), told.KeyExtended()) == ["Expired"]
    assert told_by(some, *maps(UNAPPROVED)) == ["ApprovalPending"]
    assert told_by(some, told.KeyExpired(), told.KeyExtended(), *maps(UNAPPROVED)) == ["Expired", "ApprovalPending"]


def test_the_error_says_where_to_approve() -> None:
    assert ADMIN_CONSOLE in str(needs_approval("shop", DEFAULT_CONTROL_URL))
    assert "http" not in str(needs_approval("shop", "headscale")).partition("at headscale")[2]
