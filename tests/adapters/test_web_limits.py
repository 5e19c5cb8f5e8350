from __future__ import annotations

import math
from typing import Any

import pytest

from tsnet.adapters.web_limits import WebLimits, web_limits
from tsnet.errors import ConfigError


def test_none_is_no_limit_in_time() -> None:
    limits = web_limits(10, None, None)
    assert (limits.for_header, limits.for_keep_alive) == (math.inf, math.inf)
    assert WebLimits(header_timeout=5).for_header == 5


@pytest.mark.parametrize(
    "option", [{"threads": 0}, {"max_connections": "10"}, {"header_timeout": -1}, {"keep_alive_timeout": "5"}]
)
def test_what_is_no_limit_is_named(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        WebLimits(**option)
