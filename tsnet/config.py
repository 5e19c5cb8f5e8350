"""What freezes when a server is made: arguments first, then the environment as Go's tsnet reads it, then defaults.

| option         | environment                              | default                             |
|----------------|------------------------------------------|-------------------------------------|
| `auth_key`     | `TS_AUTHKEY`, then `TS_AUTH_KEY`         | none: the stored identity, or login |
| `control_url`  | `TS_CONTROL_URL`                         | Tailscale's                         |
| `proxy`        | `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`  | none                                |
| `client_secret`| `TS_CLIENT_SECRET`, if no auth key       | none                                |
| `client_id`    | `TS_CLIENT_ID`, if neither               | none                                |
| `id_token`     | `TS_ID_TOKEN`, with `client_id`          | none, and then an audience          |
| `audience`     | `TS_AUDIENCE`, with `client_id`          | none, and then an ID token          |
| (force login)  | `TSNET_FORCE_LOGIN`                      | off: a stored identity is used      |
| (DERP by http) | `TS_DEBUG_USE_DERP_HTTP`                 | off                                 |
| (relays only)  | `TS_DEBUG_ALWAYS_USE_DERP`               | off: direct paths are used          |
| (direct paths) | `TS_DEBUG_NEVER_DIRECT_UDP`              | off: direct paths are used          |
| (disco)        | `TS_DEBUG_ENABLE_SILENT_DISCO`           | off: paths are kept warm by pings   |
| (path MTU)     | `TS_DEBUG_ENABLE_PMTUD`                  | as control's attribute says         |
| (endpoints)    | `TS_DEBUG_OMIT_LOCAL_ADDRS`              | off: own addresses are offered      |
| (endpoints)    | `TS_DEBUG_PRETENDPOINT`                  | none beside those that are found    |
| (UDP)          | `TS_DEBUG_DISABLE_UDP_GSO`, `…_GRO`      | the kernel splits and joins         |
| (port mapping) | `TS_DISABLE_PORTMAPPER`                  | on, unless control is on loopback   |
| (UPnP)         | `TSNET_UPNP`, `TS_DISABLE_UPNP`          | off: NAT-PMP and PCP alone          |
| (key log)      | `WG_KEYLOGFILE`                          | none: no secret of a session is written |
| `cache_netmap` | `TS_USE_CACHED_NETMAP=0` is False        | as control's attribute says         |
| (tests)        | `TS_PANIC_IF_HIT_MAIN_CONTROL`           | off: refuse Tailscale's own control |

`server` passes the environment in. A `Config` never changes.

Source: Go tsnet/tsnet.go (Server fields, getAuthKey, resolveAuthKey), ipn/prefs.go DefaultControlURL.
Not here: what may change while a node runs, its hostname among it (`prefs`), where the state is kept, and
XDG_STATE_HOME (`edge.io.place`), TLS objects (`base_server`), what the proxy variables mean (`base.proxies`).
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from os import PathLike
from typing import NoReturn
from urllib.parse import urlsplit

import attrs

from tsnet.base.addresses import CGNAT, IPAddress, UdpAddress, parse_address, parse_port
from tsnet.base.credentials import (
    SECRET_PREFIX,
    Credential,
    client_secret_of,
    federated_identity,
    is_loopback,
    may_see_secrets,
)
from tsnet.base.hostnames import sanitize_hostname
from tsnet.base.keys import MachineKey
from tsnet.base.malformed import MalformedError
from tsnet.base.proxies import FORM, NO_PROXIES, Proxies, asked_for, of_environment
from tsnet.base.records import record
from tsnet.base.wording import Api, Wording, api
from tsnet.errors import ConfigError

IdTokenOption = str | PathLike[str] | Callable[[], str]
TokenSource = Callable[[IdTokenOption | None, str], Callable[[], str]]

DEFAULT_CONTROL_URL = "https://controlplane.tailscale.com"
MAX_PRETENDED = 3
_TAG = re.compile(r"tag:[a-zA-Z][a-zA-Z0-9-]*")


@record
class Config:
    """The options that no call changes. Tags are among them: control grants them with the login."""

    control_url: str
    auth_key: str | None = attrs.field(default=None, repr=False)
    credential: Credential | None = None
    ephemeral: bool = False
    tags: tuple[str, ...] = ()
    port: int = 0
    control_key: MachineKey | None = None
    force_login: bool = False
    derp_over_http: bool = False
    always_use_derp: bool = False
    never_direct_udp: bool = False
    silent_disco: bool = False
    path_mtu: bool | None = None
    omit_local_addresses: bool = False
    pretended_endpoints: tuple[UdpAddress, ...] = ()
    udp_gso: bool = True
    udp_gro: bool = True
    port_mapping: bool = True
    upnp: bool = False
    key_log_file: str | None = None
    cache_netmap: bool | None = None
    proxies: Proxies = NO_PROXIES

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Config may hold an auth key, which is not to rest in a pickle")


@record
class Instead:
    """What a server is given in an auth key's place. token_source: makes of `id_token` and `audience` what obtains ID
    tokens."""

    client_id: str | None = None
    client_secret: str | None = attrs.field(default=None, repr=False)
    audience: str | None = None
    id_token: IdTokenOption | None = attrs.field(default=None, repr=False)
    token_source: TokenSource | None = None


@record
class Given:
    """The options of a server as they were given, but for the key: what `configure` resolves."""

    control_url: str | None = None
    ephemeral: bool = False
    tags: Iterable[str] = ()
    port: int = 0
    proxy: str | None = None
    allow_http: bool = False
    control_key: str | None = None
    cache_netmap: bool | None = None

    def resolved(self, environ: Mapping[str, str], auth_key: str | None, instead: Instead) -> Config:
        """Raises ConfigError."""
        return configure(
            environ=environ,
            auth_key=auth_key,
            control_url=self.control_url,
            ephemeral=self.ephemeral,
            tags=self.tags,
            port=self.port,
            allow_http=self.allow_http,
            control_key=self.control_key,
            proxy=self.proxy,
            instead=instead,
            cache_netmap=self.cache_netmap,
        )


def configure(
    *,
    environ: Mapping[str, str],
    auth_key: str | None = None,
    control_url: str | None = None,
    ephemeral: bool = False,
    tags: Iterable[str] = (),
    port: int = 0,
    allow_http: bool = False,
    control_key: str | MachineKey | None = None,
    proxy: str | None = None,
    instead: Instead | None = None,
    cache_netmap: bool | None = None,
) -> Config:
    """Resolve and check these options. Raises ConfigError, which says what to write instead.

    environ: the process's environment. instead: what is given in an auth key's place.
    """
    check_types(auth_key=auth_key, control_url=control_url, port=port, control_key=control_key)
    check_types(proxy=proxy, ephemeral=ephemeral, allow_http=allow_http, cache_netmap=cache_netmap)
    source = api("control_url=") if control_url else "TS_CONTROL_URL"
    url = _control_url(control_url or environ.get("TS_CONTROL_URL") or DEFAULT_CONTROL_URL, source)
    pinned = _control_key(control_key)
    _check_scheme(url, allow_http or pinned is not None)
    if _truthy(environ.get("TS_PANIC_IF_HIT_MAIN_CONTROL")) and urlsplit(url).hostname == "controlplane.tailscale.com":
        raise ConfigError(
            Wording(
                "TS_PANIC_IF_HIT_MAIN_CONTROL is set and the control URL is Tailscale's own: set ", api("control_url=")
            )
        )
    key = clean_key(auth_key) if auth_key is not None else key_of_environment(environ)
    wanted_tags = _tags(tags)
    credential = _credential(key, instead or Instead(), environ, url, wanted_tags)
    return Config(
        control_url=url,
        auth_key=key if credential is None else None,
        credential=credential,
        ephemeral=ephemeral,
        tags=wanted_tags,
        port=port,
        control_key=pinned,
        force_login=_truthy(environ.get("TSNET_FORCE_LOGIN")),
        derp_over_http=_truthy(environ.get("TS_DEBUG_USE_DERP_HTTP")),
        always_use_derp=_truthy(environ.get("TS_DEBUG_ALWAYS_USE_DERP")),
        never_direct_udp=_truthy(environ.get("TS_DEBUG_NEVER_DIRECT_UDP")),
        silent_disco=_truthy(environ.get("TS_DEBUG_ENABLE_SILENT_DISCO")),
        path_mtu=_truthy(environ["TS_DEBUG_ENABLE_PMTUD"]) if environ.get("TS_DEBUG_ENABLE_PMTUD") else None,
        omit_local_addresses=_truthy(environ.get("TS_DEBUG_OMIT_LOCAL_ADDRS")),
        pretended_endpoints=_pretended(environ.get("TS_DEBUG_PRETENDPOINT") or ""),
        udp_gso=not _truthy(environ.get("TS_DEBUG_DISABLE_UDP_GSO")),
        udp_gro=not _truthy(environ.get("TS_DEBUG_DISABLE_UDP_GRO")),
        port_mapping=not (_truthy(environ.get("TS_DISABLE_PORTMAPPER")) or is_loopback(urlsplit(url).hostname or "")),
        upnp=_truthy(environ.get("TSNET_UPNP")) and not _truthy(environ.get("TS_DISABLE_UPNP")),
        key_log_file=environ.get("WG_KEYLOGFILE") or None,
        cache_netmap=_cache_netmap(cache_netmap, environ),
        proxies=_proxies(proxy, environ, url),
    )


TEXT = (str, type(None))
TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "auth_key": (TEXT, "the text of an auth key"),
    "client_id": (TEXT, "the text of a client ID"),
    "client_secret": (TEXT, "the text of an OAuth client's secret"),
    "audience": (TEXT, "the text of an audience"),
    "control_url": (TEXT, "a URL"),
    "proxy": (TEXT, "a URL"),
    "port": ((int,), "a number from 0 to 65535"),
    **dict.fromkeys(["control_port", "derp_port", "stun_port"], ((int,), "a number from 0 to 65535")),
    **dict.fromkeys(["ephemeral", "allow_http", "own_thread", "tls", "wants_approval"], ((bool,), "True or False")),
    "cache_netmap": ((bool, type(None)), "True, False or None"),
    "host": ((str,), "an address of this machine"),
    "base_domain": ((str,), "a domain"),
    "user": ((str,), "a login"),
    "control_key": ((*TEXT, MachineKey), "the text of control's public key"),
}


def check_types(**options: object) -> None:
    """Raise ConfigError for a value of a type that the option of that name does not take.

    The error does not show the value, which may be secret. Options that are not in TYPES are not checked.
    """
    for name, value in options.items():
        types, what = TYPES.get(name, ((object,), ""))
        check_type(name, value, types, what)
        if types == (int,) and isinstance(value, int) and not 0 <= value <= 65_535:
            raise ConfigError(Wording(api(f"{name}="), f" takes {what}, not {value}"))


def check_type(name: str, value: object, types: tuple[type, ...], what: str) -> None:
    """As `check_types`, for one option that takes these types. what: that in words."""
    if not isinstance(value, types) or (isinstance(value, bool) and types == (int,)):
        raise ConfigError(Wording(api(f"{name}="), f" takes {what}, not {type(value).__name__}"))


def seconds(timeout: float | None, option: str = "timeout") -> float:
    """A time limit of an application in seconds. None, no limit, becomes `inf`. Raises ConfigError for others."""
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        no_limit = api("None", before=", or ", after=" for no limit")
        raise ConfigError(Wording(api(f"{option}="), " takes seconds, 0 or more", no_limit, f"; not {timeout!r}"))
    return float(timeout)


def check_limits(**limits: int | None) -> None:
    """Raise ConfigError for a limit that lets nothing in. None is no limit of this kind."""
    for name, most in limits.items():
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise ConfigError(Wording(api(f"{name}="), f" takes a number from 1 on, not {most!r}"))


def check_domain(domain: str) -> None:
    """Raise ConfigError for what is no DNS domain in small letters."""
    labels = domain.split(".")
    if not all(label and sanitize_hostname(label) == label for label in labels):
        raise ConfigError(Wording(api("base_domain="), f" must be a DNS domain in small letters, not {domain!r}"))


HostLike = str | IPAddress
"""A name or an address, as text; or an address as `status()` and `whois` show them."""


def host_text(host: HostLike) -> str:
    """The host as text. Raises ConfigError for what is neither a name nor an address."""
    if isinstance(host, IPv4Address | IPv6Address):
        return str(host)
    if not isinstance(host, str):
        what = "a name or an address, as text or an object of the module ipaddress"
        raise ConfigError(f"a host is {what}, not {type(host).__name__} {host!r}")
    return host


MAX_AUDIENCE = 1024


def check_audience(audience: str) -> None:
    """Raise ConfigError for what names nobody an ID token could be for."""
    check_type("audience", audience, (str,), "text")
    if not 0 < len(audience) <= MAX_AUDIENCE or not audience.isprintable():
        limit = f" takes a name or URL of 1 to {MAX_AUDIENCE} printable characters"
        raise ConfigError(Wording(api("audience="), limit))


def check_objects(ssl_context: object, on_auth_url: object, world: object) -> None:
    """Raise ConfigError for a value that cannot be used as that option."""
    for name, value, verb, what in (
        ("ssl_context", ssl_context, "wrap_bio", "an ssl.SSLContext"),
        ("on_auth_url", on_auth_url, "__call__", "a function of the URL"),
        ("world", world, "clock", "a World"),
    ):
        if value is not None and not hasattr(value, verb):
            raise ConfigError(Wording(api(f"{name}="), f" takes {what}, not {type(value).__name__}"))


def check_port(port: int) -> None:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65_536:
        raise ConfigError(f"port must be 1 to 65535, not {port!r}")


def check_kind(kind: str) -> None:
    if kind not in ("icmp", "tsmp", "disco"):
        raise ConfigError(f'ping kind must be "icmp", "tsmp" or "disco", not {kind!r}')


LOOKS = ("netmap", "filter", "derp", "paths", "timers")
"""What `debug` shows."""


def check_look(what: str, check: tuple[str, str] | None) -> None:
    """Raise ConfigError for what `debug` does not show. check: who wants to open what, for "filter" alone."""
    if what not in LOOKS:
        raise ConfigError(f"debug shows {', '.join(LOOKS[:-1])} or {LOOKS[-1]}, not {what!r}")
    if check is None:
        return
    if what != "filter":
        raise ConfigError(Wording(api("check="), ' goes with "filter" alone'))
    pair = check if isinstance(check, tuple) else ()
    if len(pair) != 2 or not all(isinstance(each, str) for each in pair):
        raise ConfigError(Wording(api("check="), f' takes a pair of texts, such as ("laptop", ":80"), not {check!r}'))
    if not parse_port(split_address(pair[1])[1]):
        raise ConfigError(Wording(api("check="), f' takes "address:port" or ":port" of this node, not {pair[1]!r}'))


def parse_where(where: int | str) -> tuple[int, IPAddress | None]:
    """(port, address or None for all) of 80, "80", ":80", "100.64.0.5:80", "[fd7a:…]:80"."""
    host, digits = split_address(str(where))
    port = parse_port(digits)
    if port is None or not isinstance(where, (int, str)):
        raise ConfigError(f'listen takes a port from 0 to 65535 or "address:port", not {where!r}')
    if host in ("", "0.0.0.0", "::"):
        return port, None
    address = parse_address(host)
    if address is None:
        raise ConfigError(f"listen takes one of this node's addresses, not the name {host!r}")
    return port, address


def parse_target(target: str) -> tuple[str, int | None]:
    """("db", 5432) of "db:5432"; the port is None for "db", "100.64.0.7", "fd7a:…", "[fd7a:…]"."""
    host_text(target)
    host, port = target, None
    if ":" in target and parse_address(target) is None:
        host, digits = split_address(target)
        port = parse_port(digits)
        if not port or (":" in host and parse_address(host) is None):
            raise ConfigError(f'a target is "host" or "host:port", with a port from 1 to 65535, not {target!r}')
    host = host.removeprefix("[").removesuffix("]")
    if not host.strip():
        raise ConfigError(f'a target names a host, as in "host:port", which {target!r} does not')
    return host, port


def split_address(text: str) -> tuple[str, str]:
    """("100.64.0.5", "80") of "100.64.0.5:80". Brackets around a v6 address are removed."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), port


def _cache_netmap(asked: bool | None, environ: Mapping[str, str]) -> bool | None:
    """As Go reads its variable: what is set and not true forbids it."""
    said = environ.get("TS_USE_CACHED_NETMAP")
    return False if said and not _truthy(said) else asked


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise ConfigError(Wording(api("tags="), f" takes a list of tags: [{tags!r}]"))
    given = tuple(tags) if isinstance(tags, Iterable) else (tags,)
    if not all(isinstance(tag, str) for tag in given):
        raise ConfigError(Wording(api("tags="), ' takes a list of texts: ["tag:web"]'))
    for tag in (found := tuple(sorted(set(given)))):
        if not _TAG.fullmatch(tag):
            raise ConfigError(f"tag {tag!r} must look like 'tag:name' (a letter, then letters, digits, hyphens)")
    return found


def _control_url(url: str, source: str | Api) -> str:
    """source: who says so."""
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may repeat a password of the URL
        raise ConfigError(Wording(source, " is no URL: its host is no name and no address")) from None
    if "@" in parts.netloc:  # first: the other messages show the URL
        raise ConfigError(Wording(source, " must not carry a user name or password"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(Wording(source, f" must be an http:// or https:// URL with a host, not {url!r}"))
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(Wording(source, f" has no valid port: {url!r}")) from None
    return url.rstrip("/")


def _proxies(proxy: str | None, environ: Mapping[str, str], control_url: str) -> Proxies:
    """The proxies of the option, else of the environment. The one that control needs must be of a kind we can ask."""
    if proxy is not None:
        try:
            return asked_for(proxy)
        except ValueError as error:
            raise ConfigError(Wording(api("proxy="), f" {error}")) from None
    proxies = of_environment(environ)
    parts = urlsplit(control_url)
    secure = parts.scheme == "https"
    needed = proxies.proxy_for(parts.hostname or "", parts.port or (443 if secure else 80), secure=secure)
    if needed is not None and not needed.is_usable:
        otherwise = f"set {needed.source}, or except {parts.hostname} with NO_PROXY, or pass "
        raise ConfigError(Wording(f"{needed.source} {FORM}: {otherwise}", api("proxy=")))
    return proxies


def _pretended(text: str) -> tuple[UdpAddress, ...]:
    """Up to MAX_PRETENDED endpoints with commas between them: "192.0.2.7:41641,[2001:db8::7]:41641"."""
    found: list[UdpAddress] = []
    for part in filter(None, map(str.strip, text.split(","))):
        host, digits = split_address(part)
        address, port = parse_address(host), parse_port(digits)
        if address is None or not port:
            raise ConfigError(f'TS_DEBUG_PRETENDPOINT takes "address:port" with commas between them, not {part!r}')
        found.append(UdpAddress(str(address), port))
    if len(found) > MAX_PRETENDED:
        raise ConfigError(f"TS_DEBUG_PRETENDPOINT takes {MAX_PRETENDED} endpoints at most, not {len(found)}")
    return tuple(dict.fromkeys(found))


def _check_scheme(url: str, allowed: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or allowed or is_private_host(parts.hostname or ""):
        return
    raise ConfigError(
        Wording(
            f"the control URL {url!r} is plain http to a public host: anyone on the way could hand out a false control "
            "key. Use https, pin the key with ",
            api("control_key="),
            ", or accept it with ",
            api("allow_http=True"),
        )
    )


def is_private_host(host: str) -> bool:
    """Whether plain http stays in the house there: loopback, RFC 1918, ULA and CGNAT addresses, and localhost."""
    address = parse_address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_private or address.is_loopback or (address.version == 4 and address in CGNAT)


def clean_key(auth_key: str) -> str:
    """The key without what surrounds it where it was kept: a mounted secret ends with a newline. Raises ConfigError."""
    check_types(auth_key=auth_key)
    return auth_key.strip()


def key_of_environment(environ: Mapping[str, str]) -> str | None:
    """The auth key of the variables, None if they have none."""
    kept = (environ.get(name, "").strip() for name in ("TS_AUTHKEY", "TS_AUTH_KEY"))
    return next((key for key in kept if key), None)


def _given(option: str | None, environ: Mapping[str, str], name: str) -> str:
    return (option or "").strip() or environ.get(name, "").strip()


def _check_id_token(id_token: object) -> None:
    if id_token is None or isinstance(id_token, (str, PathLike)) or callable(id_token):
        if not inspect.iscoroutinefunction(id_token):
            return
        raise ConfigError(Wording(api("id_token="), " takes a plain function, which may block, and no async one"))
    what = f" takes the text of a token, a path or a function, not {type(id_token).__name__}"
    raise ConfigError(Wording(api("id_token="), what))


def _of_secret(secret: str, control_url: str, tags: tuple[str, ...]) -> Credential:
    try:
        credential = client_secret_of(secret, control_url, tags)
    except MalformedError as error:
        raise ConfigError(Wording(api("client_secret="), f" (TS_CLIENT_SECRET) {error}")) from None
    if not may_see_secrets(credential.base_url):
        what = "the URL that a client secret would be sent to is neither https:// nor of this machine: name another "
        raise ConfigError(Wording(what, "with ?baseURL=https://… behind the secret"))
    return _with_tags(credential)


def _credential(
    key: str | None, given: Instead, environ: Mapping[str, str], control_url: str, tags: tuple[str, ...]
) -> Credential | None:
    """What takes an auth key's place; None if there is a key, or nothing. A client secret may be given as the key."""
    check_types(client_id=given.client_id, client_secret=given.client_secret, audience=given.audience)
    _check_id_token(given.id_token)
    if key and not key.startswith(SECRET_PREFIX):
        return None
    secret = key or _given(given.client_secret, environ, "TS_CLIENT_SECRET")
    return _of_secret(secret, control_url, tags) if secret else _federated(given, environ, control_url, tags)


def _federated(
    given: Instead, environ: Mapping[str, str], control_url: str, tags: tuple[str, ...]
) -> Credential | None:
    """As Go decides, which takes an ID token and an audience together for a mistake."""
    client = _given(given.client_id, environ, "TS_CLIENT_ID")
    token = given.id_token or environ.get("TS_ID_TOKEN", "").strip() or None
    wanted = _given(given.audience, environ, "TS_AUDIENCE")
    named = (api("id_token="), " (TS_ID_TOKEN)"), (api("audience="), " (TS_AUDIENCE)")
    if token and wanted:
        raise ConfigError(Wording(*named[0], " and ", *named[1], " exclude each other: keep one of them"))
    if not client and (token or wanted):
        goes_with = (" goes with ", api("client_id="), " (TS_CLIENT_ID), which is missing")
        raise ConfigError(Wording(*named[0 if token else 1], *goes_with))
    if not client:
        return None
    if not (token or wanted):
        alone = (api("client_id="), " (TS_CLIENT_ID) goes with ")
        raise ConfigError(Wording(*alone, *named[0], " or ", *named[1], ", and both are missing"))
    if wanted:
        check_audience(wanted)
    assert given.token_source is not None, "who takes these options says how tokens are obtained"
    try:
        credential = federated_identity(client, control_url, tags, given.token_source(token, wanted))
    except MalformedError as error:
        raise ConfigError(Wording(api("client_id="), f" (TS_CLIENT_ID) {error}")) from None
    if not may_see_secrets(credential.base_url):
        what = "an ID token is sent to the control URL over https, or within this machine: "
        raise ConfigError(Wording(what, api("control_url="), " is neither"))
    return _with_tags(credential)


def _with_tags(credential: Credential) -> Credential:
    if not credential.tags:
        what = "a node that joins by a client secret or a client ID belongs to tags, not to a person: pass "
        raise ConfigError(Wording(what, api("tags="), ' such as ["tag:ci"], which the client must own'))
    return credential


def _control_key(key: str | MachineKey | None) -> MachineKey | None:
    if key is None or isinstance(key, MachineKey):
        return key
    try:
        return MachineKey.parse(key)
    except MalformedError:
        what = " must be the text of control's public key: 'mkey:' and 64 hex digits"
        raise ConfigError(Wording(api("control_key="), what)) from None


def _truthy(value: str | None) -> bool:
    return (value or "").lower() in ("1", "t", "true", "y", "yes", "on")
