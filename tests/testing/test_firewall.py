from __future__ import annotations

from tsnet.base.addresses import UdpAddress
from tsnet.testing.firewall import MAX_FLOWS, StatefulFirewall

INSIDE, REMOTE, OTHER = (UdpAddress("2001:db8::1", port) for port in (1, 2, 3))


def test_it_answers_those_who_were_asked_for_a_while() -> None:
    firewall = StatefulFirewall(30.0)
    firewall.outbound(INSIDE, REMOTE, 0.0)
    assert firewall.admits(REMOTE, INSIDE, 29.9)
    assert not firewall.admits(OTHER, INSIDE, 1.0)
    assert not firewall.admits(REMOTE, INSIDE, 30.0)
    firewall.outbound(INSIDE, REMOTE, 30.0)
    assert firewall.admits(REMOTE, INSIDE, 59.0)
    firewall.forget()
    assert not firewall.admits(REMOTE, INSIDE, 59.0)


def test_it_is_bounded() -> None:
    firewall = StatefulFirewall()
    for number in range(MAX_FLOWS + 1):
        firewall.outbound(INSIDE, UdpAddress("2001:db8::2", number), 0.0)
    assert len(firewall) == MAX_FLOWS
    assert not firewall.admits(UdpAddress("2001:db8::2", 0), INSIDE, 1.0)
    assert firewall.admits(UdpAddress("2001:db8::2", 1), INSIDE, 1.0)
