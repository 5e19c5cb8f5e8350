from __future__ import annotations

import typing

import attrs
import pytest

import tsnet.errors
from tests.engine.pair import netmap, node
from tsnet.engine import facts

CLASSES = typing.get_args(facts.Fact)
PUBLIC = [kind for kind in CLASSES if (kind.__doc__ or "").startswith("(event)")]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_fact_is_a_value(kind: type) -> None:
    assert attrs.has(kind)
    filled = {field.name: None for field in attrs.fields(kind)}
    one, other = kind(**filled), kind(**filled)
    assert one == other
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(one, next(iter(filled)), 1)


def test_every_fact_class_is_in_the_union() -> None:
    defined = {
        value for value in vars(facts).values() if isinstance(value, type) and value.__module__ == facts.__name__
    }
    assert defined == set(CLASSES)


def test_what_an_application_never_sees() -> None:
    assert set(CLASSES) - set(PUBLIC) == {
        facts.Save,
        facts.LoginEnded,
        facts.Notice,
        facts.PingAnswered,
        facts.ControlAnswered,
        facts.PrefsSaved,
        facts.PrefsTaken,
        facts.EndpointMapped,
        facts.NetcheckDone,
    }


def test_peer_facts_carry_whole_nodes() -> None:
    one, other = node(1, "a"), node(1, "b")
    assert facts.PeerChanged(one, other).before is other
    assert facts.Running(netmap(one)).netmap.self_node is one


def test_a_problem_says_whether_it_can_pass() -> None:
    assert facts.Problem(tsnet.errors.NotUp("gone"), fatal=True).fatal
