"""Control asks for patience at registration, by HTTP 429, or lets map requests wait: Tailscale's own for tests.

| what control says        | what the node does                                                                  |
|--------------------------|-------------------------------------------------------------------------------------|
| 429, Retry-After: 2      | asks again after 2 s and up to a tenth more; `up` waits meanwhile                   |
| the same, three times    | the same each time                                                                  |
| Retry-After as a date    | asks again then                                                                     |
| 429 without Retry-After  | asks again after 5 to 10 s                                                          |
| 429, Retry-After: 3600   | `up` ends at its timeout with what control said, and asks no more; closing is quick |
| nothing, to a map        | UpTimeout; a later `up` works                                                       |
"""

from __future__ import annotations

import email.utils
import itertools
import math
import time
from collections.abc import Iterator

import pytest

import tsnet
from tests.interop.harness import ours
from tests.interop.harness.ours import until
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.edge.io.store import MemoryStore

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

SLACK = 0.5  # seconds that a busy machine may add


@pytest.fixture
def control(scene: Scene) -> Iterator[TestControl]:
    need("testcontrol", "derper")
    with Derper(scene) as derper, TestControl(scene, derper) as control:
        yield control


def waits(control: TestControl) -> list[float]:
    """The seconds between one registration and the next."""
    return [later - earlier for earlier, later in itertools.pairwise(control.registers())]


def test_retry_after_is_obeyed_each_time(control: TestControl) -> None:
    control.rate_limit(*[("2", "too many devices registered")] * 3)
    with ours.node(control, "patient", auth_key="any") as node:
        found = waits(control)
        assert len(found) == 3, found
        assert all(2.0 <= wait <= 2.2 + SLACK for wait in found), found
        assert node.status().state == "running"
        assert node.status().health == () or not any("429" in text for text in node.status().health)


def test_retry_after_as_a_date(control: TestControl) -> None:
    at = math.ceil(time.time()) + 3
    control.rate_limit((email.utils.formatdate(at, usegmt=True), "later"))
    with ours.node(control, "dated", auth_key="any"):
        (wait,) = waits(control)
        assert 1.9 <= wait <= 4.4 + SLACK, wait


def test_without_retry_after(control: TestControl) -> None:
    control.rate_limit(("", "slow down"))
    with ours.node(control, "untold", auth_key="any"):
        (wait,) = waits(control)
        assert 5.0 <= wait <= 10.0 + SLACK, wait


def test_a_long_wait_is_told_and_can_be_left(control: TestControl) -> None:
    control.rate_limit(("3600", "device registration is limited"))
    node = ours.node(control, "told", auth_key="any")
    try:
        with pytest.raises(tsnet.ControlUnreachable, match=r"429.*device registration is limited"):
            node.up(timeout=3)
        assert len(control.registers()) == 1
        assert node.status().state == "starting"
    finally:
        begun = time.monotonic()
        node.close()
    assert time.monotonic() - begun < 2 + SLACK
    assert len(control.registers()) == 1


def test_a_login_of_a_running_node_that_is_limited(control: TestControl) -> None:
    """The present key serves meanwhile."""
    with ours.node(control, "again", auth_key="any") as node:
        before = len(control.registers())
        control.rate_limit(("2", "later"))
        begun = time.monotonic()
        node.login(force=True, timeout=20)
        assert time.monotonic() - begun >= 2.0
        assert len(control.registers()) == before + 2
        assert node.status().state == "running"


def test_a_control_that_answers_no_map_for_a_while(control: TestControl) -> None:
    store = MemoryStore()
    control.hold_maps()
    node = ours.node(control, "held", auth_key="any", state=store)
    try:
        with pytest.raises(TimeoutError):
            node.up(timeout=2)
        control.hold_maps(False)
        node.up(timeout=10)
        assert control.count() == 1
        until(lambda: control.polls() == 1, 10)
        key = control.node("held")["Key"]
        before = control.map_requests(key)
        assert before <= 6
    finally:
        control.hold_maps(False)
        node.close()
