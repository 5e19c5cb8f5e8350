"""`tsnet curl URL`: an HTTP request over the tailnet. Only the answer's body goes to stdout.

The exit code is 22 if the status is 400 or more, as with curl --fail. The body is written all the same.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import httpx

from tsnet.cli import console
from tsnet.cli.joining import joined
from tsnet.errors import ConfigError, Error
from tsnet.server import Server

HTTP_ERROR = 22


def run(options: Namespace) -> int:
    request = _request(options)
    try:
        with joined(options, passing=True) as node:
            return _fetch(node, request, options)
    except httpx.HTTPError as error:
        reason = _reason(error)
        if isinstance(reason, Error):
            raise reason from None
        console.say(f"{request.url}: {console.message(error)} [{type(error).__name__}]")
        return 1


def _reason(error: BaseException) -> BaseException:
    """Our own error behind those of httpx and httpcore, if any, else the error itself. httpcore sets no `__cause__`."""
    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, Error):
        reason = reason.__cause__ or reason.__context__
    return error if reason is None else reason


def _request(options: Namespace) -> httpx.Request:
    try:
        url = httpx.URL(options.url if "://" in options.url else f"http://{options.url}")
    except httpx.InvalidURL as error:
        raise ConfigError(f"{options.url!r} is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{options.url!r} is no http:// or https:// URL with a host")
    body = _body(options.data)
    method = options.request or ("GET" if body is None else "POST")
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "tsnet-curl"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    return httpx.Request(method, url, headers=httpx.Headers({**headers, **_headers(options.header)}), content=body)


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"a header is 'Name: value', not {line!r}")
        headers[name.strip().title()] = value.strip()
    return headers


def _body(data: str | None) -> bytes | None:
    if data is None or not data.startswith("@"):
        return None if data is None else data.encode()
    return sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()


def _fetch(node: Server, request: httpx.Request, options: Namespace) -> int:
    with node.httpx_client(timeout=httpx.Timeout(None, connect=30), verify=not options.insecure) as client:
        response = client.send(request, stream=True, follow_redirects=options.location)
        try:
            for part in response.iter_bytes():
                sys.stdout.buffer.write(part)
                sys.stdout.buffer.flush()
        finally:
            response.close()
    if not response.is_error:
        return 0
    console.say(f"{response.url} answered {response.status_code} {response.reason_phrase}")
    return HTTP_ERROR
