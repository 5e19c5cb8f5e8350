"""MalformedError is what bytes may raise, and a ValueError to whoever parses text with it."""

from __future__ import annotations

from tsnet.base.malformed import MalformedError


def test_it_is_a_value_error_with_its_reason() -> None:
    error = MalformedError("12 bytes, not 32")
    assert isinstance(error, ValueError)
    assert str(error) == "12 bytes, not 32"
