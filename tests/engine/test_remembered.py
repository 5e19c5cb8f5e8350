"""What a node remembers is handed out to be saved, and what depends on it waits."""

from __future__ import annotations

import math
import random
from ipaddress import ip_address

import attrs
import pytest

from tests.engine.alone import NOW, A, bare, running, saved_identity
from tests.engine.pair import netmap, node, secret
from tests.house import House
from tsnet.base.keys import MachineKey, NodePrivateKey
from tsnet.control.client import facts as told
from tsnet.edge.io.place import load
from tsnet.engine import facts
from tsnet.engine.identity import new_identity
from tsnet.engine.node import Node
from tsnet.engine.saved import IDENTITY, UDP_PORT, decode_identity, decode_port
from tsnet.errors import StateError


@pytest.mark.parametrize(("pinned", "why"), [(False, "its certificate says"), (True, "control_key= names it")])
def test_a_new_key_of_control_is_told_with_the_reason_why_it_is_taken(pinned: bool, why: str) -> None:
    key, before = MachineKey(bytes([1]) * 32), MachineKey(bytes([2]) * 32)
    some = bare(control_key=str(key)) if pinned else bare()
    some.word.tell(told.NewControlKey(key, before), NOW)
    [notice] = [fact for fact in some.take_facts() if isinstance(fact, facts.Notice)]
    assert why in notice.text
    assert notice.text.index(str(key)) < notice.text.index(str(before))


def test_a_rotated_key_is_remembered_before_it_is_used() -> None:
    some = running()
    fresh = NodePrivateKey(secret("fresh"))
    some.word.tell(told.NodeKeyRotated(fresh, some.identity.node_key), NOW)
    (fact,) = some.take_facts()
    identity = saved_identity(fact)
    assert identity.node_key == fresh
    assert not identity.registered
    assert some.engine.device.public_key != identity.public
    assert isinstance(fact, facts.Save)
    some.saved(fact.ticket, None, NOW)
    assert some.engine.device.public_key == identity.public


def test_after_a_logout_another_key_is_remembered_and_none_of_it_is_used() -> None:
    some = running()
    before = some.identity
    some.word.tell(told.LoggedOut(), NOW)
    (fact,) = (fact for fact in some.take_facts() if isinstance(fact, facts.Save))
    identity = saved_identity(fact)
    assert identity.node_key != before.node_key
    assert identity.machine_key == before.machine_key
    assert not identity.is_known
    assert isinstance(fact, facts.Save)
    some.saved(fact.ticket, None, NOW)
    assert some.engine.device.public_key == before.public
    assert some.take_facts() == [facts.LoggedOut(before.login_name)]


def initiations(some: Node) -> list[bytes]:
    """What the next turn sends of them."""
    runs, _ = some.transmit(NOW, 1 << 20)
    return [datagram for _, datagrams in runs for datagram in datagrams if datagram[0] == 1 and len(datagram) == 148]


def test_the_mark_is_saved_with_the_first_netmap_so_that_the_first_dial_need_not_wait() -> None:
    some = bare()
    some.word.tell(told.NetMapChanged(netmap(A, node(2, "b"))), NOW)
    assert initiations(some) == []
    (save,) = [fact for fact in some.take_facts() if isinstance(fact, facts.Save) and b"00600.0" in fact.value]
    some.saved(save.ticket, None, NOW)
    some.calls.connect(ip_address("100.64.0.2"), 80, NOW)
    assert len(initiations(some)) == 1


def test_no_handshake_leaves_before_the_mark_above_it_was_handed_out_to_be_saved() -> None:
    some = bare()
    some.word.tell(told.NetMapChanged(netmap(A, node(2, "b"))), NOW)
    some.take_facts()
    some.calls.connect(ip_address("100.64.0.2"), 80, NOW)
    assert initiations(some) == initiations(some) == []
    (fact,) = [fact for fact in some.take_facts() if isinstance(fact, facts.Save)]
    assert saved_identity(fact).timestamp_mark == 1_700_000_600.0
    assert initiations(some) == []
    assert isinstance(fact, facts.Save)
    some.saved(fact.ticket, None, NOW)
    assert some.deadline() <= NOW
    assert len(initiations(some)) == 1


def test_a_rotated_key_keeps_the_mark_that_is_saved() -> None:
    some = bare(attrs.evolve(new_identity(random.Random(2).randbytes), timestamp_mark=1_700_000_600.0))
    some.word.tell(told.NodeKeyRotated(NodePrivateKey(secret("fresh")), some.identity.node_key), NOW)
    assert some.identity.timestamp_mark == 1_700_000_600.0


def test_the_timestamp_mark_is_saved_ahead_of_the_first_handshake() -> None:
    house = House()
    house.up("a")
    dialler = house.up("b")
    house.finish(dialler.ping("a", "icmp", 10))
    saved = load(dialler._kept._store, IDENTITY, decode_identity)
    assert saved is not None
    assert saved.timestamp_mark is not None
    assert saved.timestamp_mark > house.world.wall()


def test_a_port_is_saved_when_it_is_another() -> None:
    some = running()
    some.remembered.port(41641)
    some.remembered.port(41641)
    (save,) = some.take_facts()
    assert isinstance(save, facts.Save)
    assert (save.key, decode_port(save.value), some.remembered.udp_port) == (UDP_PORT, 41641, 41641)


def test_what_cannot_be_saved_is_a_complaint_and_is_tried_again() -> None:
    some = running()
    some.remembered.change(login_name="anna")
    some.remembered.change(login_name="anna")
    (save,) = some.take_facts()
    assert isinstance(save, facts.Save)
    full = StateError("the disk is full")
    some.saved(save.ticket, full, NOW)
    assert some.take_facts() == [facts.Problem(full, fatal=False), facts.Health(("the disk is full",))]
    some.remembered.tick(some.remembered.deadline())
    (again,) = some.take_facts()
    assert isinstance(again, facts.Save)
    assert again.value == save.value
    some.saved(again.ticket, None, NOW)
    assert some.take_facts() == [facts.Health(())]
    assert some.remembered.deadline() == math.inf


def test_a_node_that_ends_has_it_saved_first_and_goes_if_that_fails() -> None:
    some = running()
    some.remembered.change(login_name="anna")
    (save,) = some.take_facts()
    assert isinstance(save, facts.Save)
    full = StateError("the disk is full")
    some.saved(save.ticket, full, NOW)
    some.take_facts()
    some.begin_close(NOW, 5)
    assert not some.is_closed
    assert some.deadline() <= NOW
    some.transmit(NOW, 1 << 20)
    again = [fact for fact in some.take_facts() if isinstance(fact, facts.Save)]  # with the first mark of handshakes
    assert save.value in [each.value for each in again]
    for each in again:
        some.saved(each.ticket, full, NOW)
    assert some.is_closed
