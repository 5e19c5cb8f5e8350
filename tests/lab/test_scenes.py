"""One LAN, containers of one host, host firewalls, and IPv4 with IPv6: who is direct, and by which addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.harness.requirements import need
from tests.lab.homes import Who, meet
from tests.lab.scenes import SCENES, Scenes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

PAIRS: list[tuple[Who, Who]] = [("ours", "go"), ("go", "ours"), ("ours", "ours")]
RELAYED = ("dual, hard",)


@pytest.mark.parametrize("who", PAIRS, ids="-".join)
@pytest.mark.parametrize("scene", SCENES)
def test_a_pair(tmp_path: Path, scene: str, who: tuple[Who, Who]) -> None:
    need("root", "nft", "testcontrol", "derper", "tsnetpeer")
    with Scenes(tmp_path, scene, who) as homes:
        cell = meet(homes, patience=4.0 if scene in RELAYED else 11.0)
        print(scene, cell)
        assert cell.first_byte < 1.5
        assert cell.is_direct == (scene not in RELAYED)
        if cell.is_direct:
            assert cell.direct.rpartition(":")[0].strip("[]") in homes.where_b_is()
