"""Who calls, for web applications: the tailnet says it, a header never does.

    current_peer()                    inside a request, in threads and tasks alike
    environ["tsnet.peer"]             WSGI
    scope["extensions"]["tsnet"]      ASGI
    allow=                            who gets in: logins and tags, or a function of the Peer
    Tailscale-* headers               removed, whatever their case and whether - or _: anyone can send them

Not here: the two middlewares (`wsgi`, `asgi`), the netmap that knows (`tsnet.netmap.whois`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any

from tsnet.base.wording import Wording, api
from tsnet.errors import ConfigError
from tsnet.netmap.whois import Peer

Allow = Callable[[Peer], bool] | Collection[str] | str | None

_HEADER_PREFIX = b"tailscale-"
_ENVIRON_PREFIX = "HTTP_TAILSCALE_"

peer_of_request: ContextVar[Peer | None] = ContextVar("peer_of_request", default=None)


def current_peer() -> Peer | None:
    """The node that sent the request being handled; None outside one, or if no node owns the address."""
    return peer_of_request.get()


def admission(allow: Allow) -> Callable[[Peer | None], bool]:
    """The check that `allow` means. None lets everybody in; all else keeps out who is not known."""
    if allow is None:
        return lambda peer: True
    if callable(allow):
        return lambda peer: peer is not None and bool(allow(peer))
    if not isinstance(allow, Collection):
        raise ConfigError(Wording(api("allow="), f" takes a list of logins and tags, or a function, not {allow!r}"))
    names = frozenset((allow,) if isinstance(allow, str) else allow)
    for name in names:
        if not isinstance(name, str) or not name:
            what = f" takes logins (ann@example.com) and tags (tag:ci), not {name!r}"
            raise ConfigError(Wording(api("allow="), what))
    return lambda peer: peer is not None and is_named(peer, names)


def check_app(app: object) -> None:
    """Raise ConfigError for what cannot be an app: somebody passed its name, or nothing."""
    if not callable(app):
        raise ConfigError(f"an app is a WSGI or ASGI application, which can be called; not {app!r}")


def is_named(peer: Peer, names: Collection[str]) -> bool:
    """Whether a tag of the node, or the login of its user, is among the names. A tagged node has no user."""
    return any(tag in names for tag in peer.tags) if peer.tags else peer.user_login in names


def refusal(peer: Peer | None) -> str:
    """What a caller is told who is not let in."""
    if peer is None:
        return "403 Forbidden: no node of this tailnet has your address\n"
    who = ", ".join(peer.tags) or peer.user_login or "its user"
    return f"403 Forbidden: this app does not admit {peer.name} ({who})\n"


def same_user(peer: Peer | None, owner: Peer | None) -> bool:
    """Whether both nodes belong to the same person. Tagged nodes belong to nobody."""
    if peer is None or owner is None or peer.tags or owner.tags:
        return False
    return bool(owner.user_login) and peer.user_login == owner.user_login


def strip_environ(environ: Mapping[str, Any]) -> dict[str, Any]:
    """A WSGI environ without the headers that pretend to be an identity."""
    return {key: value for key, value in environ.items() if not key.upper().startswith(_ENVIRON_PREFIX)}


def strip_headers(headers: Collection[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """ASGI headers without those that pretend to be an identity."""
    return [(name, value) for name, value in headers if not name.lower().replace(b"_", b"-").startswith(_HEADER_PREFIX)]
