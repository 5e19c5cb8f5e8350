"""Errors are builtins too, and say what is wrong."""

from __future__ import annotations

import errno

import pytest

from netstack import errors


@pytest.mark.parametrize(
    ("kind", "builtin", "number"),
    [
        (errors.AddressInUse, OSError, errno.EADDRINUSE),
        (errors.AddressNotAvailable, OSError, errno.EADDRNOTAVAIL),
        (errors.MessageTooLong, OSError, errno.EMSGSIZE),
        (errors.EndpointClosed, BrokenPipeError, errno.EPIPE),
    ],
)
def test_each_is_a_builtin_with_its_number(kind: type[OSError], builtin: type[Exception], number: int) -> None:
    error = kind("the message")
    assert isinstance(error, builtin)
    assert isinstance(error, errors.NetstackError)
    assert error.errno == number
    assert "the message" in str(error)


def test_codes_are_documented() -> None:
    assert errors.__doc__ is not None
    for code in (errors.REFUSED, errors.RESET, errors.TIMEOUT, errors.UNREACHABLE, errors.ABORTED):
        assert f"`{code}`" in errors.__doc__


def test_codes_are_the_strings_that_programs_compare_with() -> None:
    codes = [errors.REFUSED, errors.RESET, errors.TIMEOUT, errors.UNREACHABLE, errors.ABORTED]
    assert codes == ["refused", "reset", "timeout", "unreachable", "aborted"]
