"""The errors between this node and control, as an application sees them, with what to do about each.

A link breaks with a reason (`tsnet.base.links.Closed`), and an HTTP answer has a status. *Hopeless* means that waiting
cannot help: for example, nobody at that address speaks ts2021, or the certificate does not verify.

Not here: when a hopeless error is fatal (`client`: only while the server has never served us).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tsnet.base.keys import MachineKey
from tsnet.base.links import ADDRESS_LOST
from tsnet.base.proxies import is_final_answer, split_proxy_reason
from tsnet.base.wording import Api, Wording, api
from tsnet.control.client.address import ControlAddress
from tsnet.control.gojson import line
from tsnet.errors import (
    AuthKeyRejected,
    CaptivePortal,
    ControlCertificateError,
    ControlKeyChanged,
    ControlTimeout,
    ControlUnreachable,
    Error,
    MessageTooLong,
    NodeRemoved,
    NotAControlServer,
    ProxyRefused,
    RemoteError,
    TooManyRequests,
)
from tsnet.http1.asking import Response

_REASONS = {
    "refused": "the connection is refused: nothing listens there",
    "dns": "the host name does not resolve: it may be misspelt, or this network's name servers do not know it",
    "timeout": "no answer in time",
    "unreachable": "the host cannot be reached",
    "reset": "whatever answers there closes the connection",  # it may do so one way or the other: told once
    "eof": "whatever answers there closes the connection",
    ADDRESS_LOST: "this machine has lost the address that the connection came from",
}

WANTS_A_LOGIN = 511
"""Network Authentication Required (RFC 6585 §6): what a captive portal is to say."""

_FOR_NOW = (302, 303, 307)
MAX_PAGE, MAX_LOCATION = 4096, 200
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,80})", re.IGNORECASE)
_NO_TLS = ("wrong version", "wrong_version", "unknown protocol", "record layer", "http request")


def link_error(address: ControlAddress, reason: str) -> tuple[Error, bool]:
    """The error for a link that broke, and whether it is hopeless."""
    proxy, reason = split_proxy_reason(reason)
    if proxy:
        return _proxy_error(address, proxy, reason)
    if reason.startswith("certificate"):
        return _certificate(address, reason.partition(":")[2].strip() or "it does not verify"), True
    if reason.startswith("tls") and any(word in reason.lower() for word in _NO_TLS):
        detail = f"it does not speak TLS on port {address.port}, as if the URL were http:// instead"
        return not_control(address, detail), True
    return unreachable(address, _REASONS.get(reason, reason.removeprefix("dns: "))), False


def answer_error(address: ControlAddress, what: str, response: Response) -> tuple[Error, bool]:
    """The error for an answer to `what` that is not the expected one, and whether it is hopeless."""
    status = response.status
    location = response.headers.get("location", "")
    is_portal = status == WANTS_A_LOGIN or (status in _FOR_NOW and _leads_elsewhere(address, location))
    if is_portal or (status == 200 and is_page(response)):
        return captive(address, page_of(what, response)), True
    if status >= 500 or status in (408, 429):
        return unreachable(address, f"it answers {what} with HTTP status {status}"), False
    if 300 <= status < 400 and location:
        where = line(location, MAX_LOCATION)
        return not_control(address, f"it redirects {what} to {where!r}. Use the URL that it redirects to"), True
    return not_control(address, f"it answers {what} with HTTP status {status}"), True


def page_of(what: str, response: Response) -> str:
    """What a stranger's answer to `what` is, in words: a web page, or where it leads."""
    where = line(response.headers.get("location", ""), MAX_LOCATION)
    if response.status != 200:
        return f"it answers {what} with HTTP status {response.status}{' and ' if where else ''}{where}"
    title = _TITLE.search(response.body[:MAX_PAGE])
    said = "" if title is None else f", {' '.join(title[1].decode('utf-8', 'replace').split())!r}"
    return f"it answers {what} with a web page{said}"


def _leads_elsewhere(address: ControlAddress, where: str) -> bool:
    """Whether a redirect goes to another host. Within the same, it is how a server moves to TLS."""
    try:
        host = urlsplit(where).hostname
    except ValueError:
        return False
    return host is not None and host != address.host


def is_page(response: Response) -> bool:
    """Whether the answer is a web page, for people."""
    start = response.body[:MAX_PAGE].lstrip().lower()
    return "text/html" in response.headers.get("content-type", "").lower() or start.startswith((b"<!doctype", b"<html"))


def captive(address: ControlAddress, detail: str) -> Error:
    return CaptivePortal(
        Wording(
            f"something answers in the place of control at {address.url}: {detail}. If this network wants a login "
            "first (a hotel, a train, a guest Wi-Fi), visit any http:// page in a browser. If a proxy or a filter "
            "blocks that host, let it through. Else the URL is that of a web site: check ",
            *_option(address),
            ".",
        )
    )


def no_key(address: ControlAddress, response: Response, why: str) -> Error:
    """The error for a 200 to GET /key that names no key of a control server."""
    if is_page(response):
        return answer_error(address, "GET /key", response)[0]
    return not_control(address, f"its answer to GET /key is no server key ({why})")


def _option(address: ControlAddress) -> tuple[str | Api, ...]:
    """What the reader can set, if the URL is wrong."""
    if address.is_with_secret:
        return ("the baseURL= behind the client secret",)
    return api("control_url="), " (TS_CONTROL_URL)"


def slow(address: ControlAddress) -> Error:
    return unreachable(address, "no answer so far, and it is waited for")


def unreachable(address: ControlAddress, detail: str) -> Error:
    return ControlUnreachable(
        Wording(
            f"control at {address.url} cannot be reached: {detail}. Check ",
            *_option(address),
            ", the network, and that the server runs.",
        )
    )


def not_control(address: ControlAddress, detail: str) -> Error:
    return NotAControlServer(
        Wording(
            f"{address.url} is no Tailscale or Headscale control server: {detail}. Check ",
            *_option(address),
            ".",
        )
    )


def wrong_control_key(address: ControlAddress, found: MachineKey, pinned: MachineKey) -> Error:
    return NotAControlServer(
        Wording(
            f"control at {address.url} has the key {found}, but ",
            api("control_key="),
            f" asks for {pinned}. Either the server was set up anew (then pin its new key), or something else answers "
            "in its place.",
        )
    )


def control_key_changed(address: ControlAddress, found: MachineKey, known: MachineKey) -> Error:
    return ControlKeyChanged(
        Wording(
            f"control at {address.url} has the key {found}, but this node has met it with {known}, and nothing proves "
            "that it is the same server. If it was set up anew, pin its new key with ",
            api("control_key="),
            ", or delete this node's state to enrol anew; if not, something else answers in its place. It was shown "
            "nothing secret.",
        )
    )


def registration_error(
    address: ControlAddress, status: int, text: str, *, key_was_made: bool = False
) -> tuple[Error, bool]:
    """The error for a registration answered by an HTTP status (0: broken off), and whether it is hopeless.

    key_was_made: the auth key it showed was made for it.
    """
    said = f"HTTP status {status}{': ' if text else ''}{text}" if status else "broken off"
    if status == 429:
        return unreachable(address, f"it limits registrations for now ({said})"), False
    if status in (401, 403):
        return AuthKeyRejected(address.url, text or said, key_was_made), True
    if 400 <= status < 500 and status != 408:
        return RemoteError(
            f"control at {address.url} does not accept this client's registration ({said}). "
            "The server may be too old or too new for it."
        ), True
    return unreachable(address, f"the registration failed ({said})"), False


def node_removed(address: ControlAddress, text: str) -> Error:
    return NodeRemoved(
        f"control at {address.url} has deleted this node ({text or 'HTTP status 404'}). To join again, log in anew: "
        "with an auth key, or by the login URL."
    )


def too_many_requests(address: ControlAddress, waiting: int) -> Error:
    return TooManyRequests(
        f"{waiting} requests to control at {address.url} have no answer yet: wait for some of them, then ask again"
    )


def request_too_long(address: ControlAddress, size: int, most: int) -> Error:
    return MessageTooLong(f"a request to control at {address.url} carries {most} bytes at most, and not {size}")


def request_timed_out(address: ControlAddress, path: str, seconds: float) -> Error:
    return ControlTimeout(
        f"control at {address.url} did not answer {path} within {seconds:g} s: ask again later, or allow more time"
    )


def request_lost(address: ControlAddress, path: str, why: str) -> Error:
    return ControlUnreachable(
        f"control at {address.url} gave no answer to {path}: {why}. It may have done what it was asked for all the "
        "same: ask again if doing it twice does no harm."
    )


def answer_too_long(address: ControlAddress, path: str, size: int) -> Error:
    return RemoteError(f"control at {address.url} answers {path} with more than {size} bytes, which nobody asked for")


def _proxy_error(address: ControlAddress, proxy: str, detail: str) -> tuple[Error, bool]:
    """The error for a link that did not get past the proxy, which never contains the proxy's user and password."""
    options = (api("proxy="), ", HTTPS_PROXY, HTTP_PROXY, NO_PROXY")
    if detail[:3] in ("407", "401"):  # tinyproxy says 401 when the password is wrong
        what = f"the proxy {proxy} wants another user and password before it connects to control at {address.url} "
        remedy = (f"({detail}): put them into its URL, http://USER:PASSWORD@HOST:PORT (", *options, ").")
        return ProxyRefused(Wording(what, *remedy)), True
    if is_final_answer(detail):
        what = f"the proxy {proxy} refuses to connect to control at {address.url} ({detail}): allow that host and "
        remedy = (f"port {address.port} there, or go another way (", *options, ").")
        return ProxyRefused(Wording(what, *remedy)), True
    said = _REASONS.get(detail, detail)
    what = f"control at {address.url} cannot be reached through the proxy {proxy}: {said}. Check the proxy ("
    return ControlUnreachable(Wording(what, *options, "), and that control runs.")), False


def _certificate(address: ControlAddress, detail: str) -> Error:
    if "not yet valid" in detail or "expired" in detail:
        remedy = Wording("If that date is not today's, set the clock of this machine; else let the server renew it.")
    elif detail.startswith("wrong name"):
        remedy = Wording(
            "Something else answers there: a login page of this network (visit any http:// page in a browser first), a "
            "name server that sends you elsewhere, or the server of another URL: check ",
            *_option(address),
            ".",
        )
    else:
        remedy = Wording(
            "If that is your company's proxy, which opens TLS, or a private CA, trust it: set SSL_CERT_FILE to its "
            "certificate",
            api("ssl_context=", before=", or pass "),
            ". If not, somebody else answers: a login page of this network, say. Nothing was sent to it.",
        )
    what = f"the certificate of control at {address.url} does not verify: {detail}. "
    return ControlCertificateError(Wording(what, remedy))
