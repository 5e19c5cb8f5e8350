"""What is known of a router's services."""

from __future__ import annotations

from tsnet.portmap.facts import ServicesSeen
from tsnet.portmap.lease import Protocol


def test_a_new_attempt_takes_back_nothing_until_it_knows_better() -> None:
    before = ServicesSeen(nat_pmp=True, pcp=False)
    assert before.updated(dict.fromkeys(Protocol)) == before
    assert before.updated({Protocol.NAT_PMP: None, Protocol.PCP: True}) == ServicesSeen(nat_pmp=True, pcp=True)
    assert before.updated({Protocol.NAT_PMP: False}) == ServicesSeen(nat_pmp=False, pcp=False)
    assert before.updated({Protocol.UPNP: True}) == ServicesSeen(nat_pmp=True, pcp=False, upnp=True)
