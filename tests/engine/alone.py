"""A node without a pump: what control tells it is told by hand, and nothing leaves but what a test takes."""

from __future__ import annotations

import random
from typing import Any

import attrs

from tests.engine.pair import netmap, node, secret
from tsnet.base.keys import NodePrivateKey
from tsnet.base.trace import Tracer
from tsnet.config import configure
from tsnet.control.client import facts as told
from tsnet.engine import facts
from tsnet.engine.identity import Identity, new_identity
from tsnet.engine.node import Node
from tsnet.engine.saved import IDENTITY, decode_identity
from tsnet.prefs import Prefs

NOW = 1000.0
A, B = node(1, "a", is_wireguard_only=False), node(2, "b", is_wireguard_only=False)
ALONE = Prefs("a")


def bare(
    identity: Identity | None = None, *, prefs: Prefs = ALONE, tracer: Tracer | None = None, **options: Any
) -> Node:
    """A node that has heard nothing yet."""
    config = configure(environ={}, control_url="https://control.test", **options)
    entropy = random.Random(1).randbytes
    return Node(
        config,
        prefs,
        identity or attrs.evolve(new_identity(entropy), node_key=NodePrivateKey(secret("a"))),
        entropy=entropy,
        now=NOW,
        wall=1_700_000_000.0,
        hostinfo={"OS": "test"},
        tracer=tracer,
    )


def running(**options: Any) -> Node:
    some = bare(**options)
    some.word.tell(told.NetMapChanged(netmap(A, B)), NOW)
    some.take_facts()
    return some


def saved_identity(fact: facts.Fact) -> Identity:
    assert isinstance(fact, facts.Save)
    assert fact.key == IDENTITY
    return decode_identity(fact.value)
