"""Every test may ask for the fixture `tailnet`, installed or not; none touches the state of whoever runs it."""

from __future__ import annotations

import pytest

from tsnet.testing import plugin


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(plugin):  # installed, it is there by its entry point
        config.pluginmanager.register(plugin, "tsnet.testing.plugin")


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without `state=` keeps its identity in the user's state directory: here one of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
