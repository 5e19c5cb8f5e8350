"""Scenes for the interop tests, and the logs of what played in them when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.interop.harness.oracle import Oracle
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, sweep

LOG_TAIL = 6000  # characters of each log under a failure


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, None, None]:
    """A failed test shows the end of each log of its scene, or of the scene of a fixture that has one."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's Result
    if not report.failed:
        return
    for fixture in getattr(item, "funcargs", {}).values():
        scene = getattr(fixture, "scene", fixture)
        if isinstance(scene, Scene):
            for log in sorted(scene.folder.glob("*.log")):
                report.sections.append((f"log {log.name}", log.read_text(errors="replace")[-LOG_TAIL:]))


@pytest.fixture(scope="session")
def _swept() -> None:
    sweep()


@pytest.fixture
def scene(tmp_path: Path, _swept: None) -> Iterator[Scene]:
    """A namespace of its own, entered. The test says by `need(…)` what else it wants."""
    need("root")
    with Scene(tmp_path) as scene:
        yield scene


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """One program for all rooms; it keeps nothing between cases."""
    need("oracle")
    with Oracle(tmp_path_factory.mktemp("oracle")) as oracle:
        yield oracle
