"""Which HTTP proxy a link goes through: none, the one that was asked for, or one of the environment.

    HTTPS_PROXY, https_proxy    for links with TLS          http://[user:password@]host[:port], or host:port
    HTTP_PROXY, http_proxy      for links without           the same; not in a CGI script (REQUEST_METHOD), where a
                                                            client of the script could set it
    NO_PROXY, no_proxy          exempts, with commas        host.name and all below it, .name for those below alone,
                                                            address, network, any of them but a network with :port; *

The environment's proxies are never asked for loopback. One that was asked for is asked for everything.

Source: Go golang.org/x/net/http/httpproxy, net/tshttpproxy.
Not here: the request to the proxy (`edge.io.proxy`), who reads the environment (`tsnet.config`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import ip_network
from urllib.parse import unquote, urlsplit

import attrs

from tsnet.base.addresses import IPAddress, IPPrefix, join_host_port, parse_address, parse_port
from tsnet.base.records import record

FORM = "must be http://[user:password@]host:port; other schemes are not supported"


@record
class Proxy:
    """source: the variable that names it, "" for an option. is_usable: whether it is of a kind that we can ask."""

    host: str
    port: int
    authorization: str = attrs.field(default="", repr=False)
    source: str = ""
    is_usable: bool = True

    @property
    def name(self) -> str:
        """Its URL without a user and a password, for texts."""
        if not self.is_usable:
            return self.source
        return f"http://{join_host_port(self.host, self.port)}"


@record
class Exemption:
    """What NO_PROXY exempts: hosts of a name, or a network; of one port, or of all."""

    name: str = ""
    below_alone: bool = False
    network: IPPrefix | None = None
    port: int | None = None

    def covers(self, host: str, address: IPAddress | None, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return address is not None and address in self.network
        return host.endswith(f".{self.name}") or (host == self.name and not self.below_alone)


@record
class Proxies:
    """https, http: for links with TLS, and without. for_all: no host is exempt."""

    https: Proxy | None = None
    http: Proxy | None = None
    exempt: tuple[Exemption, ...] = ()
    for_all: bool = False

    def proxy_for(self, host: str, port: int, *, secure: bool) -> Proxy | None:
        """The proxy that must be asked for this host; None if it is dialled directly."""
        proxy = self.https if secure else self.http
        return None if proxy is None or (not self.for_all and self._is_direct(host.lower(), port)) else proxy

    def _is_direct(self, host: str, port: int) -> bool:
        address = parse_address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(exemption.covers(host, address, port) for exemption in self.exempt)


NO_PROXIES = Proxies()


def asked_for(url: str) -> Proxies:
    """The proxies of an option: this one for everything; none at all for "". Raises ValueError."""
    if not url:
        return NO_PROXIES
    proxy = parse_proxy(url)
    return Proxies(proxy, proxy, for_all=True)


def of_environment(environ: Mapping[str, str]) -> Proxies:
    """The proxies that the environment names. One that we cannot ask is kept: its links must not go around it."""
    exempt = _exemptions(_value(environ, "NO_PROXY")[1])
    if exempt is None:
        return NO_PROXIES
    is_script = bool(environ.get("REQUEST_METHOD"))
    http = None if is_script else _of_variable(*_value(environ, "HTTP_PROXY"))
    return Proxies(_of_variable(*_value(environ, "HTTPS_PROXY")), http, exempt)


def parse_proxy(url: str, source: str = "") -> Proxy:
    """The proxy of "http://[user:password@]host[:port]"; port 80 if none is given. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme != "http" or not host:
        raise ValueError(FORM)  # the URL itself is not repeated: it may hold a password
    authorization = ""
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    return Proxy(host, port, authorization, source)


def _value(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable that is set, in capitals or small letters, and its value."""
    for variable in (name, name.lower()):
        if value := environ.get(variable, "").strip():
            return variable, value
    return name, ""


def _of_variable(variable: str, value: str) -> Proxy | None:
    if not value:
        return None
    try:
        return parse_proxy(value if "://" in value else f"http://{value}", variable)
    except ValueError:
        return Proxy("", 0, source=variable, is_usable=False)


def _exemptions(text: str) -> tuple[Exemption, ...] | None:
    """What NO_PROXY names; None if that is everything. An entry without sense exempts nothing, as in Go."""
    entries = [entry for part in text.lower().split(",") if (entry := part.strip())]
    if "*" in entries:
        return None
    return tuple(exemption for entry in entries if (exemption := _exemption(entry)) is not None)


def _exemption(entry: str) -> Exemption | None:
    try:
        return Exemption(network=ip_network(entry, strict=False))
    except ValueError:
        host, port = _split_port(entry)
    is_bare = port is None and host.startswith("[")  # Go wants a port behind brackets
    address = None if is_bare else parse_address(host.removeprefix("[").removesuffix("]"))
    if address is not None:
        return Exemption(network=ip_network(address), port=port)
    name = host.removeprefix("*").removeprefix(".") if host.startswith(("*.", ".")) else host
    return Exemption(name, below_alone=name != host, port=port) if name else None


def _split_port(entry: str) -> tuple[str, int | None]:
    host, colon, digits = entry.rpartition(":")
    port = parse_port(digits) if colon else None
    return (entry, None) if port is None else (host, port)


# --- how a link ends because of its proxy -----------------------------------------------------------------------


def proxy_reason(proxy: Proxy, reason: str) -> str:
    """The reason for `Closed` of a link whose proxy has not let it through."""
    return f"proxy {proxy.name}: {reason}"


def split_proxy_reason(reason: str) -> tuple[str, str]:
    """(the proxy's name, what was wrong) of such a reason; ("", reason) of another."""
    if not reason.startswith("proxy "):
        return "", reason
    name, _, detail = reason.removeprefix("proxy ").partition(": ")
    return name, detail


def is_final_answer(detail: str) -> bool:
    """Whether a proxy's refusal is one that waiting cannot change: 407, 403 and their kin."""
    return detail[:1] == "4" and detail[:3] not in ("408", "429")
