from __future__ import annotations

import copy
import errno
import inspect
import pickle

import pytest

import tsnet
from tsnet import errors
from tsnet.base.wording import Wording, api, worded
from tsnet.errors import Error, LocalError, NotUp, RemoteError, again

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Error)]
CONCRETE = [kind for kind in CLASSES if kind not in (Error, LocalError, RemoteError)]


@pytest.mark.parametrize("kind", CONCRETE)
def test_each_says_who_can_act_and_fits_a_builtin(kind: type[Error]) -> None:
    assert issubclass(kind, LocalError) != issubclass(kind, RemoteError)
    builtins = [
        base
        for base in kind.__mro__
        if base.__module__ == "builtins" and base not in (Exception, BaseException, object)
    ]
    assert builtins, f"{kind.__name__} fits no builtin"
    assert kind.__doc__


def test_codes_are_stable_and_unique() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert {kind.__name__: kind.code for kind in CONCRETE} == {
        "ConfigError": "config",
        "NotUp": "not-up",
        "StateError": "state",
        "StateLocked": "state-locked",
        "StateInUse": "state-in-use",
        "WrongStateKey": "wrong-state-key",
        "AddressInUse": "address-in-use",
        "AddressNotAvailable": "address-not-available",
        "NotOnTailnet": "not-on-tailnet",
        "MessageTooLong": "message-too-long",
        "NoIdToken": "no-id-token",
        "TooManyRequests": "too-many-requests",
        "OutOfDescriptors": "out-of-descriptors",
        "NeedsLogin": "needs-login",
        "AuthKeyRejected": "auth-key-rejected",
        "CredentialRejected": "credential-rejected",
        "IdTokenRejected": "id-token-rejected",
        "KeyExpired": "key-expired",
        "NeedsApproval": "needs-approval",
        "NodeRemoved": "node-removed",
        "ControlUnreachable": "control-unreachable",
        "ProxyRefused": "proxy-refused",
        "CaptivePortal": "captive-portal",
        "NotAControlServer": "not-a-control-server",
        "ControlKeyChanged": "control-key-changed",
        "ControlCertificateError": "control-certificate",
        "ControlTimeout": "control-timeout",
        "IdTokenRefused": "id-token-refused",
        "UpTimeout": "up-timeout",
        "SetTimeout": "set-timeout",
        "DialTimeout": "dial-timeout",
        "DialRefused": "dial-refused",
        "DeniedByPolicy": "denied-by-policy",
        "HostUnreachable": "host-unreachable",
        "StreamReset": "stream-reset",
    }


@pytest.mark.parametrize("kind", CONCRETE)
def test_each_is_public(kind: type[Error]) -> None:
    assert getattr(tsnet, kind.__name__) is kind
    assert kind.__name__ in tsnet.__all__


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.AddressInUse("x"), errno.EADDRINUSE),
        (errors.AddressNotAvailable("x"), errno.EADDRNOTAVAIL),
        (errors.NotOnTailnet("x"), errno.EHOSTUNREACH),
        (errors.HostUnreachable("x"), errno.EHOSTUNREACH),
        (errors.DialRefused("x"), errno.ECONNREFUSED),
        (errors.StreamReset("x"), errno.ECONNRESET),
        (errors.MessageTooLong("x"), errno.EMSGSIZE),
        (errors.OutOfDescriptors("x"), errno.EMFILE),
        (errors.OutOfDescriptors("x", errno.ENFILE), errno.ENFILE),
    ],
)
def test_those_of_sockets_have_their_number(error: OSError, number: int) -> None:
    assert error.errno == number
    assert "x" in str(error)


def test_the_usual_builtins_catch_them() -> None:
    for raised, caught in (
        (errors.DialRefused("x"), ConnectionRefusedError),
        (errors.DialTimeout("x"), TimeoutError),
        (errors.UpTimeout("x"), TimeoutError),
        (errors.StreamReset("x"), ConnectionResetError),
        (errors.ConfigError("x"), ValueError),
        (errors.NeedsLogin("x", "https://login"), PermissionError),
    ):
        with pytest.raises(caught):
            raise raised


def test_what_they_carry() -> None:
    assert errors.NeedsLogin("x", "https://login").url == "https://login"
    assert errors.StateLocked("x", 77).pid == 77
    assert errors.StreamReset("x", "node closed").ended_by == "node closed"
    rejected = errors.AuthKeyRejected("https://control", "expired")
    assert (rejected.control_url, rejected.reason) == ("https://control", "expired")
    assert "https://control" in str(rejected)
    assert "expired" in str(rejected)


def made(kind: type[Error], text: str) -> Error:
    parameters = inspect.signature(kind).parameters.values()
    needed = sum(one.default is one.empty and one.kind is not one.VAR_POSITIONAL for one in parameters)
    return kind(*[text] * max(1, needed))


def same(one: Error, other: Error) -> bool:
    what = [(each.args, str(each), each.__dict__, getattr(each, "errno", None)) for each in (one, other)]
    return type(one) is type(other) and what[0] == what[1]


@pytest.mark.parametrize("kind", CONCRETE)
def test_they_travel_between_processes(kind: type[Error]) -> None:
    error = made(kind, "why")
    assert same(pickle.loads(pickle.dumps(error)), error)
    assert same(copy.copy(error), error)


@pytest.mark.parametrize("kind", CONCRETE)
def test_one_that_is_kept_is_raised_as_a_copy(kind: type[Error]) -> None:
    kept = made(kind, "why")
    kept.__cause__ = KeyError("cause")
    with pytest.raises(kind) as raised:
        raise again(kept)
    new = raised.value
    assert new is not kept
    assert same(new, kept)
    assert new.__cause__ is kept.__cause__
    assert kept.__traceback__ is None


def test_so_is_one_of_the_system() -> None:
    kept = OSError(errno.ECONNRESET, "why")
    kept.__cause__ = KeyError("cause")
    with pytest.raises(ConnectionResetError) as raised:
        raise again(kept)
    assert raised.value is not kept
    assert (raised.value.args, raised.value.__cause__) == (kept.args, kept.__cause__)
    assert kept.__traceback__ is None


def test_an_error_of_somebody_else_is_raised_itself() -> None:
    error = KeyError("why")
    assert again(error) is error


# --- what others say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONCRETE)
def test_what_an_error_quotes_is_printable(kind: type[Error]) -> None:
    error = made(kind, "evil \x1b[2J\nroot: \u202e")
    assert str(error).isprintable()
    assert "evil \\x1b[2J root: \\u202e" in str(error)


def test_an_error_that_quotes_can_still_be_worded() -> None:
    error = NotUp(Wording("evil \x1b: pass ", api("state=")))
    assert str(error) == "evil \\x1b: pass state="
    assert worded(error.args[0], {"state=": "--state-dir"}) == "evil \\x1b: pass --state-dir"
