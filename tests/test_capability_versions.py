"""What each capability version since 131 asks of a node, and the proof that this one does it.

A version is a promise to control, which includes all that came before. Whoever raises the number adds a duty here.
Source: Go tailcfg/tailcfg.go, the history of CapabilityVersion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address

import attrs
import pytest

from tests.control.client.test_c2n import ask
from tests.control.scripted import SELF, WELCOME, Scripted
from tests.engine import pair
from tests.engine.test_cachednetmap import KEPT, written
from tsnet.control.client.c2n import Shown
from tsnet.control.messages import CAPABILITY_VERSION, MapResponse
from tsnet.engine import tsmp
from tsnet.engine.attributes import NodeAttributes, attributes_of
from tsnet.engine.rejectedflows import RejectedFlows
from tsnet.netmap.merge import MapUpdate

LAST_BEFORE = 131
HARD = 20  # seconds that control asks for


def asks_nothing_of_us(*attributes: str) -> Callable[[], None]:
    """These attributes are about what a library has not: a resolver of the system, a TUN device, Android, conn25."""

    def check() -> None:
        assert attributes_of(dict.fromkeys(attributes, ())) == NodeAttributes()

    return check


def obeys(name: str, field: str) -> Callable[[], None]:
    def check() -> None:
        assert attributes_of({name: ()}) == NodeAttributes(**{field: True})

    return check


def keeps_the_netmap_if_control_says_so() -> None:
    own = attrs.evolve(pair.node(1, "a"), capabilities={"cache-network-maps": ()})
    assert KEPT
    assert written(pair.netmap(own))
    assert written(pair.netmap(pair.node(1, "a"))) is None


def waits_to_register() -> None:
    control = Scripted()
    control.client(auth_key="key")
    control.run()
    control.answer("register", b"slow down", 429, retry_after=str(HARD))
    asked = control.now
    control.wind(HARD - 1)
    assert not control.waits("register")
    control.wind(asked + 1.1 * HARD + 1 - control.now)
    control.answer("register", WELCOME.encode())


def tells_that_tailnet_lock_is_off() -> None:
    assert ask("GET", "/debug/tka/log") == (400, b"tailnet lock not active\n")


def offloads_less() -> None:
    for name in ("disable-udp-gro", "disable-udp-gso"):
        assert attributes_of({name: ()}).names == (name,)  # tests/edge/run/test_pump.py: the port obeys


def lets_nobody_configure_it() -> None:
    assert ask("GET", "/remoteapi/localapi/v0/status") == (403, b"remote config not enabled by local machine\n")


def tells_its_disco_key_in_each_session() -> None:
    two = pair.Pair()
    two.a.engine.ping_tsmp(pair.B4.packed, bytes(8), two.now)
    began = two.now
    while two.a.node.raw_key not in two.b.engine._advertised:
        two.b.engine.take_messages(two.now)
        assert two.step(began + 10)
    assert two.b.engine._advertised[two.a.node.raw_key] == two.a.engine.disco_key


def shows_what_was_rejected() -> None:
    flows = RejectedFlows(lambda _address: "timeout", 0.0)
    flows.want(wanted=attributes_of({"debug-conn-reject": ()}).conn_reject)
    flows.told(ip_address("100.64.0.1"), ip_address("100.64.0.2"), tsmp.Rejected(6, "A", 1, 2), 0.0)
    status, body = ask("GET", "/debug/rejects", Shown(rejected=flows.shown))
    assert (status, json.loads(body)["Outgoing"][0]["Reason"]) == (200, "acl")


def waits_as_it_is_told() -> None:
    """On the map; tests/control/client has the same for registrations, updates, keys and connections."""
    for status in (429, 503):
        control = Scripted()
        control.join()
        control.send(b"", end=True)
        control.wind(1)
        control.answer("poll", b"slow down", status, retry_after=str(HARD))
        asked = control.now
        control.wind(HARD - 1)
        assert not control.waits("poll")
        control.wind(asked + 1.1 * HARD + 1 - control.now)
        control.send_map(MapResponse(MapUpdate(node=SELF)))


DUTIES: dict[int, Callable[[], None]] = {
    132: asks_nothing_of_us("disable-hosts-file-updates"),
    133: asks_nothing_of_us("force-register-magicdns-ipv4-only"),
    134: asks_nothing_of_us("disable-android-bind-to-active-network"),
    135: keeps_the_netmap_if_control_says_so,
    136: asks_nothing_of_us("disable-linux-cgnat-drop-rule"),
    137: waits_to_register,
    138: tells_that_tailnet_lock_is_off,
    139: asks_nothing_of_us("emit-runtime-metrics"),  # of Go's runtime
    140: offloads_less,
    141: obeys("never-gso-equal-tail", "never_gso_equal_tail"),
    142: lets_nobody_configure_it,
    143: asks_nothing_of_us("conn25"),
    144: tells_its_disco_key_in_each_session,
    145: asks_nothing_of_us("scope-quad100-macos"),
    146: shows_what_was_rejected,
    147: waits_as_it_is_told,
}


def test_every_version_up_to_ours_has_its_duty() -> None:
    assert [*DUTIES] == [*range(LAST_BEFORE + 1, CAPABILITY_VERSION + 1)]


@pytest.mark.parametrize("version", DUTIES)
def test_the_duty_is_done(version: int) -> None:
    DUTIES[version]()
