"""The provider that this machine runs at gives it an ID token for an audience.

| where          | how that is seen                            | the token                                 |
|----------------|---------------------------------------------|-------------------------------------------|
| GitHub Actions | ACTIONS_ID_TOKEN_REQUEST_URL and …_TOKEN    | GET that URL with audience=…              |
| AWS EC2        | PUT http://169.254.169.254/latest/api/token | sts:GetWebIdentityToken, by botocore      |
| Google Cloud   | GET http://metadata.google.internal         | GET …/service-accounts/default/identity   |
| AWS ECS        | ECS_CONTAINER_METADATA_URI_V4               | as EC2                                    |

Everything here blocks. The GitHub token is shown over https, or on this machine, alone; no redirect is followed, and an
answer has at most MAX_ANSWER bytes.

Source: Go wif/wif.go; the providers' documents.
Not here: GitLab, which gives its jobs tokens as variables, and Kubernetes, which gives files (`idtokensource`).
"""

from __future__ import annotations

import http.client
import importlib
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tsnet.base.credentials import is_loopback, may_see_secrets
from tsnet.base.records import record
from tsnet.base.wording import Wording, api
from tsnet.errors import NoIdToken

if TYPE_CHECKING:
    import ssl

TIMEOUT = 5.0
"""Seconds for a connection, and as long again for the whole answer, however it drips."""

MAX_ANSWER = 1 << 20

EC2_URL = "http://169.254.169.254/latest/api/token"
GOOGLE_URL = "http://metadata.google.internal"
GOOGLE_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/identity"
FLAVOR = {"Metadata-Flavor": "Google"}


@record
class Told:
    """headers: by names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Ask = Callable[[str, str, Mapping[str, str]], Told]
"""Method, URL, headers. Raises OSError."""


class Workload:
    """ask: makes one request."""

    def __init__(self, environ: Mapping[str, str], ask: Ask | None = None) -> None:
        self._environ = environ
        self._ask = asked if ask is None else ask

    def id_token(self, audience: str) -> str:
        """Raises NoIdToken, which quotes no token."""
        audience = audience.strip()
        url, token = (self._environ.get(f"ACTIONS_ID_TOKEN_REQUEST_{each}", "") for each in ("URL", "TOKEN"))
        if url and token:
            return self._of_github(url, token, audience)
        if self._is_at(lambda: self._ask("PUT", EC2_URL, {"X-aws-ec2-metadata-token-ttl-seconds": "1"}).status == 200):
            return _of_amazon(audience)
        if self._is_at(lambda: self._ask("GET", f"{GOOGLE_URL}/", FLAVOR).headers.get("metadata-flavor") == "Google"):
            return self._of_google(audience)
        if self._environ.get("ECS_CONTAINER_METADATA_URI_V4"):
            return _of_amazon(audience)
        options = (api("id_token="), " (TS_ID_TOKEN) in the place of ", api("audience="), ".")
        what = "this is no GitHub Actions job with the permission id-token: write, and no machine of AWS or Google "
        raise NoIdToken(Wording(what, "Cloud, which would give an ID token for an audience. Pass ", *options))

    def _is_at(self, seen: Callable[[], bool]) -> bool:
        try:
            return seen()
        except OSError:
            return False

    def _of_github(self, url: str, token: str, audience: str) -> str:
        bare, _, query_text = url.partition("#")[0].partition("?")
        if not may_see_secrets(bare):
            raise NoIdToken("ACTIONS_ID_TOKEN_REQUEST_URL is no https:// URL")
        query = {**dict(parse_qsl(query_text)), "audience": audience}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        body = self._body("GitHub Actions", f"{bare}?{urlencode(sorted(query.items()))}", headers)
        try:
            value = json.loads(body)["value"]
        except (ValueError, KeyError, TypeError, RecursionError):
            value = None
        if not isinstance(value, str):
            raise NoIdToken("GitHub Actions answers without an ID token")
        return value

    def _of_google(self, audience: str) -> str:
        query = urlencode({"audience": audience, "format": "full"})
        return self._body("Google Cloud", f"{GOOGLE_URL}{GOOGLE_TOKEN_PATH}?{query}", FLAVOR).decode("latin-1").strip()

    def _body(self, who: str, url: str, headers: Mapping[str, str]) -> bytes:
        try:
            told = self._ask("GET", url, headers)
        except OSError as error:
            raise NoIdToken(f"{who} gives no ID token: it cannot be asked ({type(error).__name__})") from None
        if not 200 <= told.status < 300:
            raise NoIdToken(f"{who} gives no ID token: it answers with HTTP status {told.status}")
        if len(told.body) > MAX_ANSWER:
            raise NoIdToken(f"{who} gives no ID token: it answers with more than {MAX_ANSWER} bytes")
        return told.body


def _of_amazon(audience: str) -> str:
    try:
        session: Any = importlib.import_module("botocore.session")
    except ImportError:
        raise NoIdToken("an ID token of AWS needs botocore: pip install 'tsnet-py[aws]'") from None
    try:
        client = session.Session().create_client("sts")
        answer = client.get_web_identity_token(Audience=[audience], SigningAlgorithm="ES384", DurationSeconds=300)
        token: str = answer["WebIdentityToken"]
    except Exception as error:  # botocore has many
        raise NoIdToken(f"AWS gives no ID token: sts:GetWebIdentityToken failed ({type(error).__name__})") from None
    return token


class _Reader(io.RawIOBase):
    """A socket's bytes until a moment, and then TimeoutError. A socket's own limit begins anew with each."""

    def __init__(self, sock: Any, until: float) -> None:
        self._sock, self._file, self._until = sock, sock.makefile("rb", buffering=0), until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        count: int | None = self._file.readinto(buffer)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, time.monotonic() + TIMEOUT))


class _Http(http.client.HTTPConnection):
    response_class = _Response


class _Https(http.client.HTTPSConnection):
    response_class = _Response


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Http, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._trust = context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Https, request, context=self._trust)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


def asked(method: str, url: str, headers: Mapping[str, str]) -> Told:
    """One request, by way of the proxies of the environment, but never for this machine itself, as Go's does."""
    from tsnet.edge.io.tls import default_context

    https = _HttpsHandler(default_context())
    is_here = is_loopback(urlsplit(url).hostname or "")
    proxies = urllib.request.ProxyHandler({}) if is_here else urllib.request.ProxyHandler()
    opener = urllib.request.build_opener(_HttpHandler(), https, proxies, _NoRedirects())
    request = urllib.request.Request(url, method=method, headers=dict(headers))
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            return _told(response.status, response.headers, response)
    except urllib.error.HTTPError as error:
        with error:
            return _told(error.code, error.headers, error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OSError(type(error).__name__) from None


def _told(status: int, headers: Any, body: IO[bytes]) -> Told:
    return Told(status, {name.lower(): value for name, value in headers.items()}, body.read(MAX_ANSWER + 1))
