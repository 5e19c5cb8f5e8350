"""Three strangers, or three nodes of the tailnet, send each other tiny packets through its relay."""

from __future__ import annotations

import os
import threading
import time

from benchmarks.attacks.members import enrol
from benchmarks.attacks.tally import LOOPBACK, PAUSE, Pace, Tally, Target, Wire
from tsnet.base.crypto import BOX_NONCE_SIZE, node_public
from tsnet.base.keys import NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.derp import frames
from tsnet.derp.login import ClientInfo, decode_server_key, seal_client_info
from tsnet.derp.upgrade import HeadReader, encode_request

SENDERS = 3
BATCH = 500


def strangers(target: Target, tally: Tally) -> None:
    _send(target, tally, [NodePrivateKey(os.urandom(32)) for _ in range(SENDERS)])


def nodes(target: Target, tally: Tally) -> None:
    _send(target, tally, [enrol(target, f"tiny-{number}").private for number in range(SENDERS)])


def _send(target: Target, tally: Tally, keys: list[NodePrivateKey]) -> None:
    """Each to the next one."""
    pace = Pace(target.rate)

    def attack(number: int) -> None:
        while True:
            try:
                _one_connection(target, tally, pace, keys[number], keys[(number + 1) % SENDERS])
            except (OSError, MalformedError):
                tally.add("ended by the victim")
            time.sleep(PAUSE)

    threads = [threading.Thread(target=attack, args=(number,), daemon=True) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _one_connection(target: Target, tally: Tally, pace: Pace, private: NodePrivateKey, to: NodePrivateKey) -> None:
    wire = Wire(target.relay)
    try:
        log_in(wire, private)
        packets = frames.encode_packets(frames.SEND_PACKET, node_public(to), [b"x"] * BATCH)
        while True:
            wire.write(packets)
            tally.add("packets", BATCH)
            pace.wait(BATCH)
    finally:
        wire.close()


def log_in(wire: Wire, private: NodePrivateKey) -> None:
    wire.write(encode_request(LOOPBACK))
    head, decoder = HeadReader(), frames.Decoder()
    while (answered := head.feed(wire.read())) is None:
        pass
    greeting = decoder.feed(answered[1])
    while not greeting:
        greeting = decoder.feed(wire.read())
    key = decode_server_key(greeting[0][1])
    login = seal_client_info(private, key, os.urandom(BOX_NONCE_SIZE), ClientInfo())
    wire.write(frames.encode(frames.CLIENT_INFO, login))
