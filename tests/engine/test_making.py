"""The rooms of a node get what its configuration and its identity say."""

from __future__ import annotations

import random

from tests.engine.identities import identity
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey
from tsnet.config import configure
from tsnet.engine.making import Making


def test_the_rooms_share_the_identity_and_the_disco_key() -> None:
    disco_key, own = DiscoPrivateKey(bytes(range(32))), identity()
    config = configure(environ={"TS_DEBUG_USE_DERP_HTTP": "1"}, control_url="https://control.example", auth_key="k")
    made = Making(config, own, disco_key, random.Random(1).randbytes, now=5.0, wall=1005.0, tracer=None)
    engine, control = made.engine(), made.control({"Hostname": "shop"}, None, verifies_tls=True)
    assert engine.disco_key == disco_public(disco_key)
    assert control._publisher._disco_key == engine.disco_key
    assert control._publisher.hostinfo == {"Hostname": "shop"}
    assert made.relays()._over_http
