"""docs/netstack.md names every reason by which a packet is dropped, and every way in which a connection ends."""

from __future__ import annotations

import re
from pathlib import Path

import netstack
from netstack import errors

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "netstack.md").read_text()
REASON = re.compile(r'"((?:ip|ipv4|ipv6|icmp|udp|tcp|fragment|outbox): [^"]+)"')


def test_every_reason_is_in_the_table_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "netstack").rglob("*.py"))
    documented = set(re.findall(r"`((?:ip|ipv4|ipv6|icmp|udp|tcp|fragment|outbox): [^`]+)`", PAGE))
    assert set(REASON.findall(sources)) == documented


def test_every_error_is_named() -> None:
    for code in (errors.REFUSED, errors.RESET, errors.TIMEOUT, errors.UNREACHABLE, errors.ABORTED):
        assert f"| `{code}` |" in PAGE
    for name in netstack.__all__:
        if isinstance(getattr(netstack, name), type) and issubclass(getattr(netstack, name), Exception):
            assert f"`{name}`" in PAGE
