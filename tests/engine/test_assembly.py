"""The rooms of a node get what its configuration and its identity say."""

from __future__ import annotations

import random

import pytest

from tests.engine.identities import identity
from tests.engine.test_portmapping import HOME
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey
from tsnet.config import configure
from tsnet.engine.assembly import Assembly


def test_the_rooms_share_the_identity_and_the_disco_key() -> None:
    disco_key, own = DiscoPrivateKey(bytes(range(32))), identity()
    config = configure(environ={"TS_DEBUG_USE_DERP_HTTP": "1"}, control_url="https://control.example", auth_key="k")
    made = Assembly(config, own, disco_key, random.Random(1).randbytes, now=5.0, wall=1005.0, tracer=None)
    engine, control = made.engine(), made.control({"Hostname": "shop"}, None, verifies_tls=True)
    assert engine.disco_key == disco_public(disco_key)
    assert control._publisher._disco_key == engine.disco_key
    assert control._publisher.hostinfo == {"Hostname": "shop"}
    assert made.relays()._over_http


@pytest.mark.parametrize(
    ("environ", "is_asked"),
    [({}, True), ({"TS_DISABLE_PORTMAPPER": "1"}, False), ({"TS_DEBUG_ALWAYS_USE_DERP": "1"}, False)],
)
def test_a_router_is_asked_where_udp_is_used(environ: dict[str, str], is_asked: bool) -> None:
    config = configure(environ=environ, control_url="https://control.example", auth_key="k")
    disco_key = DiscoPrivateKey(bytes(32))
    made = Assembly(config, identity(), disco_key, random.Random(1).randbytes, now=5.0, wall=1005.0, tracer=None)
    asking = made.port_mapping()
    asking.set_place(HOME, 41641, 5.0)
    assert bool(asking.transmit(5.0)) is is_asked
