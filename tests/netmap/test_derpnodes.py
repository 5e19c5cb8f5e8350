"""What of a relay node is dialled."""

from __future__ import annotations

import pytest

from tsnet.base.links import Tls
from tsnet.netmap.derpnodes import dial_hosts, dial_port, dial_tls
from tsnet.netmap.model import DerpNode


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "hosts"),
    [
        ("", "", ("relay.example",)),
        ("192.0.2.1", "", ("192.0.2.1", "relay.example")),
        ("192.0.2.1", "2001:db8::1", ("192.0.2.1", "2001:db8::1")),
        ("192.0.2.1", "none", ("192.0.2.1",)),
        ("none", "2001:db8::1", ("2001:db8::1",)),
        ("none", "", ("relay.example",)),
        ("none", "none", ()),
        ("2001:db8::1", "192.0.2.1", ()),
    ],
)
def test_which_hosts_a_node_has(ipv4: str, ipv6: str, hosts: tuple[str, ...]) -> None:
    assert dial_hosts(DerpNode("1", 1, "relay.example", ipv4=ipv4, ipv6=ipv6)) == hosts


def test_the_port_and_tls() -> None:
    node = DerpNode("1", 1, "relay.example", cert_name="cert.example", insecure_for_tests=True)
    assert (dial_port(node, use_http=False), dial_port(node, use_http=True)) == (443, 3340)
    assert dial_port(DerpNode("1", 1, "relay.example", derp_port=8443), use_http=True) == 8443
    assert dial_tls(node, use_http=False) == Tls("relay.example", "cert.example", insecure=True)
    assert dial_tls(node, use_http=True) is None
