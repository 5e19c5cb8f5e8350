"""Every test may ask for the fixture `tailnet`, installed or not; none touches the state of whoever runs it."""

from __future__ import annotations

import gc

import pytest

from tsnet.testing import plugin


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(plugin):  # installed, it is there by its entry point
        config.pluginmanager.register(plugin, "tsnet.testing.plugin")


def pytest_collection_finish() -> None:
    """Keep the collector away from the suite itself: all tests and all modules, which stay until the end.

    A test that collects after each of a hundred interrupts would look through them every time, for ten seconds.
    """
    import hypothesis  # noqa: F401  # when it begins, it asks the collector who refers to an object of trio

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without `state=` keeps its identity in the user's state directory: here one of this test alone. No router
    of whoever runs the tests is asked for a port."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("TS_DISABLE_PORTMAPPER", "1")
