"""Two hard NATs are joined directly, as soon as one of the routers maps a port: Go's nodes and ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.harness.requirements import need
from tests.lab.homes import Who, meet
from tests.lab.mapped_homes import MappedHomes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@pytest.mark.parametrize("who", [("go", "go"), ("ours", "go"), ("go", "ours"), ("ours", "ours")], ids="-".join)
def test_a_mapped_port_joins_two_hard_nats(tmp_path: Path, who: tuple[Who, Who]) -> None:
    need("root", "nft", "miniupnpd", "testcontrol", "derper", "tsnetpeer")
    with MappedHomes(tmp_path, "hard", "hard", who) as homes:
        homes.daemon.process.wait_until(homes.daemon.mappings, "asked for a port")
        [(external, internal)] = homes.daemon.mappings().items()
        cell = meet(homes, patience=12, dialler="b")
        print(cell)
        assert cell.is_direct
        assert cell.direct == f"{homes.internet.left.public}:{external}"
        assert internal.startswith(homes.internet.left.address)
        homes.a.start("quit").result(10)
        homes.daemon.process.wait_until(lambda: not homes.daemon.mappings(), "given its port back", timeout=5)


def test_controls_word_against_upnp_counts_more_than_ours_for_it(tmp_path: Path) -> None:
    """testcontrol gives each node the attribute `debug-disable-upnp`."""
    need("root", "nft", "miniupnpd", "testcontrol", "derper", "tsnetpeer")
    with MappedHomes(tmp_path, "hard", "hard", ("ours", "go"), upnp=True) as homes:
        assert not meet(homes, patience=2, dialler="b").is_direct
        assert "M-SEARCH" not in homes.daemon.process.log()
        ours = (homes.internet.scene.folder / "ours-a.log").read_text()
        assert "no port mapping" in ours
