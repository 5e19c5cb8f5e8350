"""Equipment: one box, one count, one way out."""

from __future__ import annotations

import random

from tsnet.base.addresses import UdpAddress
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey
from tsnet.disco.box import Box
from tsnet.disco.equipment import Equipment
from tsnet.disco.messages import Ping, decode

OURS, THEIRS = DiscoPrivateKey(b"\1" * 32), DiscoPrivateKey(b"\2" * 32)
WHERE = UdpAddress("192.0.2.1", 1)


def test_what_goes_out_is_sealed_by_the_box_of_the_senders_and_counted_once_for_all() -> None:
    equipment = Equipment.of(OURS, random.Random(1).randbytes)
    assert equipment.senders.box.public_key == disco_public(OURS)
    equipment.outgoing.send(bytes(32), WHERE, Ping(bytes(12)))
    assert equipment.dropped == {"key": 1}
    equipment.outgoing.send(disco_public(THEIRS), WHERE, Ping(bytes(12)))
    ((to, (sealed,)),) = equipment.outgoing.take(1 << 20)
    assert (to, decode(Box(THEIRS, bytes).open(sealed))) == (WHERE, Ping(bytes(12)))
