"""The errors that an application can catch, by who can act.

    Error
    ├─ LocalError     the program asked for something impossible, or its own machine stands in the way
    └─ RemoteError    the other side said no, or said nothing

Each error also derives from the builtin that fits, so `except ConnectionRefusedError` works as over any socket.
A message says who, what, why, and what to do next; `code` is stable and has a section in docs/errors.md. It may quote
other machines, so what would not print is shown as an escape.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Callable
from typing import ClassVar, TypeVar

from tsnet.base.wording import Wording, api


class Error(Exception):
    """The base of everything that this library raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*map(_shown, arguments))

    def __reduce__(self) -> tuple[Callable[..., Error], tuple[object, ...]]:
        """How it is copied, and travels between processes: as what it is, whatever it was made from."""
        return _made, (type(self), self.args, self.__dict__)


E = TypeVar("E", bound=BaseException)


def again(error: E) -> E:
    """The error to raise for one that is kept. Ours and the system's are copied: raised itself, it would collect
    tracebacks, and keep alive what their frames hold, such as the node whose failure it is.
    """
    new: E
    if isinstance(error, Error):
        new = _made(type(error), error.args, error.__dict__)
    elif isinstance(error, OSError) and type(error).__module__ == "builtins":
        new = copy.copy(error)
    else:
        return error
    new.__cause__, new.__suppress_context__ = error.__cause__, error.__suppress_context__
    return new.with_traceback(error.__traceback__)


def _made(kind: type[E], arguments: tuple[object, ...], fields: dict[str, object]) -> E:
    new = kind.__new__(kind)
    Error.__init__(new, *arguments)  # type: ignore[arg-type]  # only our own kinds come here
    new.__dict__.update(fields)
    return new


def _shown(argument: object) -> object:
    return Wording.printable(argument) if isinstance(argument, str) and not argument.isprintable() else argument


class LocalError(Error):
    """The base of errors that the program or its own machine can mend."""

    code = "local"


class RemoteError(Error):
    """The base of errors that another party decides."""

    code = "remote"


# --- the program, the machine -----------------------------------------------------------------------------------


class ConfigError(LocalError, ValueError):
    """An option has no sensible meaning."""

    code = "config"


class NotUp(LocalError, RuntimeError):
    """The node was closed, could not begin, or belongs to the parent of this forked process."""

    code = "not-up"


class StateError(LocalError, OSError):
    """The state cannot be read, is not ours, or cannot be written. It is never replaced in silence."""

    code = "state"


class StateLocked(StateError, BlockingIOError):
    """Another node, of this or another process (`pid`), uses this state directory."""

    code = "state-locked"

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class StateInUse(StateLocked):
    """A node of this machine, of this or another process (`pid`), runs with a copy of this state."""

    code = "state-in-use"


class WrongStateKey(StateError):
    """An encrypted state was sealed with another key than those that were passed."""

    code = "wrong-state-key"


class AddressInUse(LocalError, OSError):
    """This node already listens on that port."""

    code = "address-in-use"

    def __init__(self, message: str) -> None:
        super().__init__(errno.EADDRINUSE, message)


class AddressNotAvailable(LocalError, OSError):
    """The node does not own that address, or no local port is free."""

    code = "address-not-available"

    def __init__(self, message: str) -> None:
        super().__init__(errno.EADDRNOTAVAIL, message)


class NotOnTailnet(LocalError, OSError):
    """No node of this tailnet has that name or address."""

    code = "not-on-tailnet"

    def __init__(self, message: str) -> None:
        super().__init__(errno.EHOSTUNREACH, message)


class OutOfDescriptors(LocalError, OSError):
    """The process, or the machine, has no descriptor left. What was asked for has left nothing behind."""

    code = "out-of-descriptors"

    def __init__(self, message: str, number: int = errno.EMFILE) -> None:
        super().__init__(number, message)


class TooManyRequests(LocalError, BlockingIOError):
    """So many requests to control have no answer yet that another one is not sent."""

    code = "too-many-requests"


class NoIdToken(LocalError, RuntimeError):
    """No ID token could be obtained to join with: its file, function or provider gave none."""

    code = "no-id-token"


class MessageTooLong(LocalError, OSError):
    """The datagram is larger than UDP allows, or the request to control larger than control takes."""

    code = "message-too-long"

    def __init__(self, message: str) -> None:
        super().__init__(errno.EMSGSIZE, message)


# --- control ----------------------------------------------------------------------------------------------------


class NeedsLogin(RemoteError, PermissionError):
    """Control wants a person to log this node in at `url`."""

    code = "needs-login"

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url


class NeedsApproval(RemoteError, PermissionError):
    """The node is logged in, but an administrator of the tailnet has to approve of it first."""

    code = "needs-approval"


class AuthKeyRejected(RemoteError, PermissionError):
    """Control does not accept this auth key, or the tags asked for. Retrying with the same does not help.

    was_made: the key was made for this registration, by a client secret or an ID token.
    """

    code = "auth-key-rejected"

    def __init__(self, control_url: str, reason: str, was_made: bool = False) -> None:
        what = f"control at {control_url} rejected the registration: {reason}. "
        headscale = " Headscale wants the tags on the key itself, and no "
        super().__init__(
            Wording(
                what + "Create a new auth key (reusable or unused, not expired, allowed to set the tags asked for) and "
                "pass it as ",
                api("auth_key="),
                " or TS_AUTHKEY.",
                *((headscale, api("tags="), " beside it.") if "tag" in reason else ()),
            )
            if not was_made
            else Wording(
                what + "Its auth key was made a moment ago, by this node's client secret or ID token: see that their "
                "client may make keys with the tags of ",
                api("tags="),
                ", and that this control is the one that made the key (",
                api("control_url="),
                ").",
            )
        )
        self.control_url: str = control_url
        self.reason: str = reason


class CredentialRejected(RemoteError, PermissionError):
    """The server makes no auth key for this client secret or client ID, or not with these tags. `reason`: its words."""

    code = "credential-rejected"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason: str = reason


class IdTokenRejected(CredentialRejected):
    """The server does not accept the ID token: it has expired, or is another audience's, issuer's or subject's."""

    code = "id-token-rejected"


class KeyExpired(RemoteError, PermissionError):
    """The node key has expired; the node must log in again."""

    code = "key-expired"


class NodeRemoved(RemoteError, PermissionError):
    """Control has deleted this node."""

    code = "node-removed"


class ControlUnreachable(RemoteError, ConnectionError):
    """Nothing at the control URL answers."""

    code = "control-unreachable"


class ProxyRefused(RemoteError, ConnectionError):
    """The HTTP proxy does not let this node through to control: it wants a password, or forbids that host."""

    code = "proxy-refused"


class NotAControlServer(RemoteError, ConnectionError):
    """Something answers at the control URL, but it does not speak ts2021, or not with the expected key."""

    code = "not-a-control-server"


class CaptivePortal(NotAControlServer):
    """A web page answers in control's place: a network's login page, a block page, or the page of another server."""

    code = "captive-portal"


class ControlKeyChanged(RemoteError, ConnectionError):
    """Control answers with another key than the one remembered, over a connection that does not prove who it is."""

    code = "control-key-changed"


class ControlCertificateError(RemoteError, ConnectionError):
    """The TLS certificate at the control URL does not verify."""

    code = "control-certificate"


class ControlTimeout(RemoteError, TimeoutError):
    """Control has not answered a request in time."""

    code = "control-timeout"


class IdTokenRefused(RemoteError, PermissionError):
    """Control gives no ID token for that audience, or has none at all."""

    code = "id-token-refused"


class UpTimeout(RemoteError, TimeoutError):
    """The node did not come up in time. The message says what it was waiting for."""

    code = "up-timeout"


class SetTimeout(RemoteError, TimeoutError):
    """Control has not taken changed preferences in time. They are in force, and control is told when it answers."""

    code = "set-timeout"


# --- connections ------------------------------------------------------------------------------------------------


class DialTimeout(RemoteError, TimeoutError):
    """The peer did not answer in time."""

    code = "dial-timeout"


class DialRefused(RemoteError, ConnectionRefusedError):
    """The peer refused the connection: nothing listens there, or its packet filter says no."""

    code = "dial-refused"

    def __init__(self, message: str) -> None:
        super().__init__(errno.ECONNREFUSED, message)


class DeniedByPolicy(DialRefused):
    """The peer's node does not let this one in: the tailnet's policy, its shields or its machine's firewall say no."""

    code = "denied-by-policy"


class HostUnreachable(RemoteError, OSError):
    """The peer is known but cannot be reached."""

    code = "host-unreachable"

    def __init__(self, message: str) -> None:
        super().__init__(errno.EHOSTUNREACH, message)


class StreamReset(RemoteError, ConnectionResetError):
    """The stream was reset. ended_by: "peer" or "us"."""

    code = "stream-reset"

    def __init__(self, message: str, ended_by: str = "peer") -> None:
        super().__init__(errno.ECONNRESET, message)
        self.ended_by = ended_by
