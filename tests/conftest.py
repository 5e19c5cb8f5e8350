"""Every test may ask for the fixture `tailnet`, whether or not the project is installed."""

from __future__ import annotations

import pytest

from tsnet.testing import plugin


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(plugin):  # installed, it is there by its entry point
        config.pluginmanager.register(plugin, "tsnet.testing.plugin")
