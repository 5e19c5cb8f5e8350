"""The options of httpx's clients and transports: which the transport keeps, and which mean nothing on a tailnet.

| option                                          | who keeps it                                                    |
|-------------------------------------------------|-----------------------------------------------------------------|
| verify cert trust_env http1 http2 limits        | the transport, whose connection pool they are of                |
| retries                                         | the transport, as httpx.HTTPTransport does                      |
| transport proxy                                 | nobody: they ask for another way than the tailnet               |
| uds local_address socket_options                | nobody: a connection of the tailnet has no socket of the host   |
| all others                                      | httpx's client                                                  |

Not here: the transports (`httpx`).
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from tsnet.adapters.httpcore import NO_SOCKET, LateContext
from tsnet.base.wording import Wording, api
from tsnet.errors import ConfigError

Cert = str | tuple[str, str] | tuple[str, str, str] | None
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)

OF_TRANSPORT = ("cert", "trust_env", "http1", "http2", "limits", "retries")
_ANOTHER_WAY = "a client of the tailnet goes no other way; make an httpx client of your own for that"
REFUSED = {
    "transport": _ANOTHER_WAY + ", and mount a transport of tsnet.httpx in it",
    **dict.fromkeys(["proxy", "proxies", "app"], _ANOTHER_WAY),
    **dict.fromkeys(["uds", "local_address", "socket_options"], NO_SOCKET),
}


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A client's options: those of its transport, and those that httpx's client keeps. Raises ConfigError."""
    check_meaning(options)
    ours = {name: options[name] for name in OF_TRANSPORT if name in options}
    return ours, {name: value for name, value in options.items() if name not in ours or name == "trust_env"}


def check_meaning(options: Iterable[str]) -> None:
    """Raise ConfigError for an option that a tailnet cannot honour."""
    for name in options:
        if name in REFUSED:
            raise ConfigError(Wording(api(f"{name}="), f" cannot be honoured: {REFUSED[name]}"))


def check_known(options: Iterable[str]) -> None:
    """Raise for every further option of a transport: ConfigError if httpx has it, else TypeError."""
    check_meaning(options)
    for name in options:
        raise TypeError(f"a transport of the tailnet has no option {name!r}")


def for_pool(
    *,
    verify: ssl.SSLContext | str | bool,
    cert: Cert,
    trust_env: bool,
    limits: httpx.Limits,
    retries: int,
    **http: bool,
) -> dict[str, Any]:
    """What an httpcore pool takes for these options of a transport. http: http1, http2. Raises ConfigError."""
    if not isinstance(limits, httpx.Limits):
        raise ConfigError(Wording(api("limits="), f" takes an httpx.Limits, not {type(limits).__name__}"))
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ConfigError(Wording(api("retries="), f" takes a number of attempts, 0 or more, not {retries!r}"))
    if not any(http.values()) or not all(isinstance(value, bool) for value in http.values()):
        raise ConfigError(Wording(api("http1="), " and ", api("http2="), " are True or False, and one must be True"))
    return {
        "ssl_context": _context(verify, cert, trust_env),
        "max_connections": limits.max_connections,
        "max_keepalive_connections": limits.max_keepalive_connections,
        "keepalive_expiry": limits.keepalive_expiry,
        "retries": retries,
        **http,
    }


def _context(verify: ssl.SSLContext | str | bool, cert: Cert, trust_env: bool) -> Any:
    """What judges certificates. The default one is made when it is wanted; another may be wrong, so it is made now."""
    if verify is True and not cert:
        return LateContext(functools.partial(httpx.create_ssl_context, trust_env=trust_env))
    if not isinstance(verify, (bool, str, ssl.SSLContext)):
        raise ConfigError(Wording(api("verify="), f" takes an ssl.SSLContext or a bool, not {type(verify).__name__}"))
    try:
        return httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
    except (OSError, TypeError) as error:
        raise ConfigError(Wording(api("verify="), " or ", api("cert="), f" cannot be used: {error}")) from error
