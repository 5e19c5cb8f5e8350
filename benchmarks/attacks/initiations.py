"""One WireGuard initiation of a real peer, sent again and again to the victim's UDP port."""

from __future__ import annotations

import os
import socket
import time

from benchmarks.attacks.members import enrol
from benchmarks.attacks.tally import LOOPBACK, Pace, Tally, Target
from tsnet.base.crypto import x25519
from tsnet.base.keys import NodePrivateKey
from tsnet.wireguard import tai64n
from tsnet.wireguard.cookie import CookieMaker
from tsnet.wireguard.handshake import Remote, StaticKeys, create_initiation

BATCH = 50


def replay(target: Target, tally: Tally) -> None:
    enrolled = enrol(target, "replayed")
    to = enrolled.peers[target.hostname]
    us, them = StaticKeys.of(enrolled.private), Remote(to, x25519(enrolled.private, to))
    ephemeral, stamp = NodePrivateKey(os.urandom(32)), tai64n.encode(time.time_ns())
    _state, message = create_initiation(us, them, 1, ephemeral, stamp)
    datagram, pace = CookieMaker(to).add_macs(message.encode(), 0.0), Pace(target.rate)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((LOOPBACK, target.udp))
        while True:
            for _ in range(BATCH):
                udp.send(datagram)
            tally.add("initiations", BATCH)
            pace.wait(BATCH)
