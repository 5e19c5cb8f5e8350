"""Where a redirect leads, and what of the request goes along.

| status   | method                     | body       |
|----------|----------------------------|------------|
| 301, 302 | POST becomes GET           | dropped    |
| 303      | all but HEAD become GET    | dropped    |
| 307, 308 | stays                      | stays      |

Another origin gets no header but those of SAFE: what else an application has put there may be a credential. A body may
be one, too, and so none is taken to another origin. From https to http nothing is taken at all.

Source: RFC 9110 §15.4.
Not here: how many are followed (`client`).
"""

from __future__ import annotations

import attrs

from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.http1.answers import Reason, Unusable
from tsnet.http1.asking import Headers, Response
from tsnet.http1.url import Url

STATUSES = frozenset({301, 302, 303, 307, 308})
SAFE = frozenset({"accept", "accept-language", "user-agent"})
_ABOUT_THE_BODY = "content-"


@record
class Request:
    method: str
    url: Url
    headers: Headers = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)


def is_redirect(response: Response) -> bool:
    return response.status in STATUSES and "location" in response.headers


def followed(request: Request, response: Response) -> Request:
    """The request that the redirect asks for. Raises Unusable."""
    try:
        url = request.url.join(response.headers["location"])
    except MalformedError as error:
        raise Unusable(Reason.REDIRECT, f"it leads to {error}") from None
    if request.url.secure and not url.secure:
        raise Unusable(Reason.DOWNGRADE, "it leads from https to http")
    changed = _as_get(request) if _becomes_get(request.method, response.status) else request
    if url.origin != request.url.origin:
        changed = _without_secrets(changed)
    return attrs.evolve(changed, url=url)


def _becomes_get(method: str, status: int) -> bool:
    return (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST")


def _as_get(request: Request) -> Request:
    headers = tuple(line for line in request.headers if not line[0].lower().startswith(_ABOUT_THE_BODY))
    return Request("GET", request.url, headers)


def _without_secrets(request: Request) -> Request:
    if request.body:
        raise Unusable(Reason.REDIRECT, "it would take the body to another origin")
    return attrs.evolve(request, headers=tuple(line for line in request.headers if line[0].lower() in SAFE))
