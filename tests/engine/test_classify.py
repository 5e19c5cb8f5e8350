from __future__ import annotations

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.disco.box import MAGIC
from tsnet.engine.classify import classify
from tsnet.netcheck.stun import encode_request

SOURCE = UdpAddress("192.0.2.1", 1)
OTHER = UdpAddress("192.0.2.2", 2)
STUN = encode_request(bytes(12))
DISCO = MAGIC + bytes(60)
TRANSPORT = b"\4" + bytes(40)


def kind(datagram: bytes) -> str:
    wireguard, disco, stun = classify([(SOURCE, [datagram])])
    (found,) = [name for name, batch in (("wireguard", wireguard), ("disco", disco), ("stun", stun)) if batch]
    return found


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (TRANSPORT, "wireguard"),
        (b"\1" + bytes(147), "wireguard"),
        (b"\2" + bytes(91), "wireguard"),
        (b"\3" + bytes(63), "wireguard"),
        (DISCO, "disco"),
        (MAGIC, "disco"),
        (STUN, "stun"),
        (b"", "wireguard"),
        (b"\xff" * 30, "wireguard"),
        (MAGIC[:5], "wireguard"),
        (STUN[:7], "wireguard"),
        (b"\4\0\0\0" + STUN[4:8] + bytes(40), "wireguard"),
    ],
)
def test_by_its_first_bytes(datagram: bytes, expected: str) -> None:
    assert kind(datagram) == expected


def test_a_run_of_transport_data_stays_one_run() -> None:
    run = [TRANSPORT] * 5
    wireguard, disco, stun = classify([(SOURCE, run)])
    assert wireguard == [(SOURCE, run)]
    assert wireguard[0][1] is run
    assert (disco, stun) == ([], [])


def test_a_mixed_run_is_split_and_keeps_the_order_of_each_kind() -> None:
    first, second = b"\1" + bytes(147), TRANSPORT
    wireguard, disco, stun = classify([(SOURCE, [first, DISCO, second, STUN]), (OTHER, [DISCO])])
    assert [(source, list(run)) for source, run in wireguard] == [(SOURCE, [first]), (SOURCE, [second])]
    assert [source for source, _ in disco] == [SOURCE, OTHER]
    assert [list(run) for _, run in stun] == [[STUN]]


def test_nothing_is_nothing() -> None:
    assert classify([]) == ([], [], [])
