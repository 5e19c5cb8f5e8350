"""What two netmaps differ in, as facts."""

from __future__ import annotations

import attrs

from tests.engine.alone import NOW, A, B, bare, saved_identity
from tests.engine.pair import netmap, node
from tests.traces import Traced
from tsnet.control.client import facts as told
from tsnet.engine import facts
from tsnet.engine.differences import MAX_TRACED, differences, trace_changes
from tsnet.netmap.changes import Changes


def test_the_first_netmap_is_running_and_those_after_it_are_differences() -> None:
    some = bare()
    some.take_facts()
    some.word.tell(told.NetMapChanged(netmap(A)), NOW)
    saved, first = some.take_facts()
    assert saved_identity(saved).stable_id == A.stable_id
    assert isinstance(first, facts.Running)
    changed = attrs.evolve(B, online=True)
    for peers, expected in (
        ([B], [facts.PeerAppeared]),
        ([changed], [facts.PeerChanged]),
        ([changed], []),
        ([], [facts.PeerLeft]),
    ):
        some.word.tell(told.NetMapChanged(netmap(A, *peers)), NOW)
        assert [type(fact) for fact in some.take_facts()] == [*expected, facts.NetMapChanged]


def test_peers_that_left_come_first_and_the_netmap_comes_last() -> None:
    changed = attrs.evolve(A, online=True)
    after = netmap(A, changed, node(3, "c"))
    assert list(differences(Changes.between(netmap(A, A, B), after))) == [
        facts.PeerLeft(B),
        facts.PeerChanged(changed, A),
        facts.PeerAppeared(node(3, "c")),
        facts.NetMapChanged(after),
    ]


def test_of_many_peers_that_change_the_trace_names_some_and_counts_all() -> None:
    traced = Traced()
    many = [node(number, f"n{number}") for number in range(3, 203)]
    trace_changes(Changes.between(netmap(A, B), netmap(A, *many)), traced("node"))
    assert traced.fields("netmap") == [{"peers": 200, "changed": 201, "relay_regions": 0}]
    assert len(traced.events) == 1 + MAX_TRACED
