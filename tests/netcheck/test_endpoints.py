"""Which endpoints are offered, in which order, for how long; by a hand clock."""

from __future__ import annotations

from ipaddress import ip_address

from tsnet.base.addresses import UdpAddress
from tsnet.base.network import InterfaceAddress, Network
from tsnet.netcheck.endpoints import LIFETIME, MAX_KEPT, MAX_PER_IP, Endpoints, Kind
from tsnet.netcheck.mappings import Mappings

PORT = 41641
SEEN, SEEN_V6 = UdpAddress("203.0.113.5", 7001), UdpAddress("2001:db8:9::5", 7001)
OTHER = UdpAddress("203.0.113.5", 7002)
ROUTER = UdpAddress("203.0.113.5", 5555)


def network(*addresses: str) -> Network:
    found = tuple(InterfaceAddress("eth0", ip_address(address)) for address in addresses)
    return Network(frozenset(address for _, address in found), interfaces=found)


HOME = network("10.0.0.7", "2001:db8::7")
LOCAL = [(UdpAddress("10.0.0.7", PORT), Kind.LOCAL), (UdpAddress("2001:db8::7", PORT), Kind.LOCAL)]


def seen(*addresses: UdpAddress) -> Mappings:
    some = Mappings()
    for address in addresses:
        some.add(address)
    return some


def test_the_order_is_gos() -> None:
    some = Endpoints(fixed_port=PORT)
    some.mapped = (ROUTER,)
    found = some.determine(HOME, PORT, seen(SEEN, OTHER, SEEN_V6), 0.0)
    assert list(found) == [
        (ROUTER, Kind.PORT_MAPPED),
        (SEEN, Kind.STUN),
        (SEEN_V6, Kind.STUN),
        (UdpAddress(SEEN.host, PORT), Kind.STUN_LOCAL_PORT),
        *LOCAL,
    ]
    assert some.found == found


def test_the_local_port_is_guessed_only_behind_a_hard_nat_and_only_if_it_was_configured() -> None:
    hard, easy = seen(SEEN, OTHER), seen(SEEN, SEEN)
    for fixed_port, mappings in ((0, hard), (PORT, easy), (PORT, seen(SEEN))):
        found = Endpoints(fixed_port).determine(None, PORT, mappings, 0.0)
        assert [kind for _, kind in found] == [Kind.STUN]


def test_an_address_stands_once_by_its_first_kind() -> None:
    public = UdpAddress("10.0.0.7", PORT)
    found = Endpoints().determine(HOME, PORT, seen(public), 0.0)
    assert list(found) == [(public, Kind.STUN), LOCAL[1]]


def test_loopback_is_offered_only_where_there_is_nothing_else() -> None:
    alone = network("127.0.0.1", "::1")
    offered = [UdpAddress("127.0.0.1", PORT), UdpAddress("::1", PORT)]
    assert [where for where, _ in Endpoints().determine(alone, PORT, seen(), 0.0)] == offered
    assert list(Endpoints().determine(alone, PORT, seen(SEEN), 0.0)) == [(SEEN, Kind.STUN)]


def test_without_a_port_or_a_network_nothing_is_local() -> None:
    assert Endpoints().determine(HOME, 0, seen(), 0.0) == ()
    assert Endpoints().determine(None, PORT, seen(), 0.0) == ()


def test_what_was_seen_is_offered_for_a_while_and_nothing_local_is_kept() -> None:
    some = Endpoints()
    some.determine(HOME, PORT, seen(SEEN, SEEN_V6), 0.0)
    some.determine(HOME, PORT, seen(SEEN), 100.0)
    elsewhere = network("192.168.1.7")
    kept = [*some.determine(elsewhere, PORT, seen(), LIFETIME - 1)]
    assert kept == [(SEEN_V6, Kind.STUN), (SEEN, Kind.STUN), (UdpAddress("192.168.1.7", PORT), Kind.LOCAL)]
    assert (SEEN_V6, Kind.STUN) not in some.determine(elsewhere, PORT, seen(), LIFETIME)
    assert (SEEN, Kind.STUN) in some.determine(elsewhere, PORT, seen(), 99 + LIFETIME)
    assert (SEEN, Kind.STUN) not in some.determine(elsewhere, PORT, seen(), 100 + LIFETIME)


def test_another_network_makes_void_what_was_seen() -> None:
    some = Endpoints()
    some.set_mapped((ROUTER,))
    some.determine(HOME, PORT, seen(SEEN), 0.0)
    some.forget()
    assert list(some.determine(HOME, PORT, seen(), 1.0)) == [(ROUTER, Kind.PORT_MAPPED), *LOCAL]
    some.set_mapped(())
    assert list(some.determine(HOME, PORT, seen(), 1.0)) == LOCAL


def test_of_one_ip_six_are_kept_those_seen_last() -> None:
    some = Endpoints()
    for port in range(1, 21):
        some.determine(None, PORT, seen(UdpAddress(SEEN.host, port)), float(port))
    found = some.determine(None, PORT, seen(), 21.0)
    assert [where.port for where, _ in found] == list(range(21 - MAX_PER_IP, 21))


def test_servers_that_see_us_anywhere_fill_no_memory() -> None:
    some = Endpoints()
    for number in range(1000):
        found = some.determine(None, PORT, seen(UdpAddress(f"203.0.{number // 250}.{number % 250}", 1)), 0.0)
        assert len(found) <= MAX_KEPT


def test_own_addresses_can_be_left_out_and_others_pretended() -> None:
    assert list(Endpoints(omit_local=True).determine(HOME, PORT, seen(SEEN), 0.0)) == [(SEEN, Kind.STUN)]
    assert Endpoints(omit_local=True).determine(HOME, PORT, seen(), 0.0) == ()
    pretended = UdpAddress("198.51.100.9", 9)
    found = Endpoints(omit_local=True, pretended=(pretended, SEEN)).determine(HOME, PORT, seen(SEEN), 0.0)
    assert list(found) == [(SEEN, Kind.STUN), (pretended, Kind.EXPLICIT)]
