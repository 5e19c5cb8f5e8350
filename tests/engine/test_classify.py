from __future__ import annotations

import pytest

from tsnet.base.addresses import DerpAddress, PeerRelayAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.disco import geneve
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


# --- peer relays ------------------------------------------------------------------------------------------------


def relayed(datagram: bytes, vni: int = 5, protocol: int = geneve.WIREGUARD) -> bytes:
    return geneve.header(protocol, vni) + datagram


def test_wireguard_of_a_peer_relay_comes_from_its_session_without_the_header() -> None:
    run = [relayed(TRANSPORT), relayed(TRANSPORT), relayed(TRANSPORT, 6), relayed(b"\1" + bytes(147), 6)]
    wireguard, disco, stun = classify([(SOURCE, run), (OTHER, [TRANSPORT])])
    assert wireguard == [
        (PeerRelayAddress(*SOURCE, 5), [TRANSPORT, TRANSPORT]),
        (PeerRelayAddress(*SOURCE, 6), [TRANSPORT, b"\1" + bytes(147)]),
        (OTHER, [TRANSPORT]),
    ]
    assert (disco, stun) == ([], [])


def test_among_others_it_is_told_apart_too() -> None:
    run = [STUN, relayed(TRANSPORT), relayed(DISCO, protocol=geneve.DISCO), DISCO]
    wireguard, disco, stun = classify([(SOURCE, run)])
    assert wireguard == [(PeerRelayAddress(*SOURCE, 5), [TRANSPORT])]
    assert disco == [(SOURCE, (relayed(DISCO, protocol=geneve.DISCO),)), (SOURCE, (DISCO,))]
    assert stun == [(SOURCE, (STUN,))]


@pytest.mark.parametrize(
    "datagram",
    [relayed(TRANSPORT, 0), relayed(TRANSPORT)[:7], b"\0\0\x7a\x12\0\0\5\1" + TRANSPORT, b"\0\0\x65\x58" + bytes(50)],
)
def test_what_only_resembles_a_header_is_handed_on_as_it_is(datagram: bytes) -> None:
    ((source, datagrams),), disco, stun = classify([(SOURCE, [datagram])])
    assert (source, list(datagrams), disco, stun) == (SOURCE, [datagram], [], [])


def test_through_derp_there_is_no_session() -> None:
    source = DerpAddress(1, NodeKey(bytes(32)))
    wireguard, disco, _stun = classify([(source, [relayed(TRANSPORT), relayed(DISCO, protocol=geneve.DISCO)])])
    assert [where for where, _datagrams in wireguard] == [source, source]
    assert disco == []
