"""Nothing that control can send costs more than 100 MiB, whatever it becomes; a true map of 10,000 peers passes."""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path
from random import Random

import pytest
from backports import zstd

from tests.attacks.bombs import BOMBS, MIB, tailnet
from tests.fuzzing import mutated
from tsnet.base.malformed import MalformedError
from tsnet.control.messages import RegisterRequest, RegisterResponse, decode_map

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


class Peak:
    """The most memory that the process had more than at the beginning."""

    def __init__(self) -> None:
        if not CLEAR.exists():
            pytest.skip("this system does not say how much memory a process had at most")
        gc.collect()
        CLEAR.write_text("5")
        self._before = resident("VmRSS")

    def growth(self) -> int:
        return resident("VmHWM") - self._before


@pytest.mark.parametrize("name", BOMBS)
def test_a_map_message(name: str) -> None:
    message = zstd.compress(BOMBS[name](), level=1)
    peak = Peak()
    with pytest.raises(MalformedError):
        decode_map(message)
    assert peak.growth() < 100 * MIB


def test_a_map_message_that_is_not_compressed() -> None:
    message = BOMBS["64 MiB of empty lists"]()
    peak = Peak()
    with pytest.raises(MalformedError):
        decode_map(message)
    assert peak.growth() < 100 * MIB


@pytest.mark.parametrize("name", ["empty lists", "many names", "an emoji in a long string", "deep lists", "routes"])
def test_other_documents(name: str) -> None:
    document = BOMBS[name]()
    peak = Peak()
    for decode in (RegisterResponse.decode, RegisterRequest.decode):
        with pytest.raises(MalformedError):
            decode(document)
    assert peak.growth() < 100 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
def test_a_map_of_ten_thousand_peers(compressed: bool) -> None:
    document = tailnet(10_000)
    message = zstd.compress(document) if compressed else document
    peak = Peak()
    assert len(decode_map(message).update.peers) == 10_000
    assert peak.growth() < 100 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16))
def test_maps_that_are_damaged(seed: int) -> None:
    """A quarter of a million in all; the fuzz of every day has some thousand."""
    chance, sample = Random(seed), tailnet(3)
    peak = Peak()
    for _ in range(15_000):
        with contextlib.suppress(MalformedError):
            decode_map(mutated(sample, chance))
    assert peak.growth() < 100 * MIB
