from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from tsnet.edge.io.workload import EC2_URL, GOOGLE_URL, MAX_ANSWER, Told, Workload, asked
from tsnet.errors import NoIdToken

RUNNER = "https://runner.example/token?api-version=2"
GITHUB = {"ACTIONS_ID_TOKEN_REQUEST_URL": RUNNER, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "hidden"}
NOBODY = OSError("nobody is there")


class Provider:
    """Answers by URL, without a query; what it does not know is not there."""

    def __init__(self, **answers: Told) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answers: dict[str, Told | Exception] = {**answers}

    def __call__(self, method: str, url: str, headers: Mapping[str, str]) -> Told:
        self.asked.append((method, url, dict(headers)))
        answer = self.answers.get(url.partition("?")[0], NOBODY)
        if isinstance(answer, Exception):
            raise answer
        return answer


def told(status: int, body: bytes = b"", **headers: str) -> Told:
    return Told(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def test_github_actions() -> None:
    provider = Provider()
    provider.answers["https://runner.example/token"] = told(200, json.dumps({"value": "a.b.c"}).encode())
    assert Workload(GITHUB, provider).id_token(" https://us & co ") == "a.b.c"
    url = "https://runner.example/token?api-version=2&audience=https%3A%2F%2Fus+%26+co"  # in Go's order
    assert provider.asked == [("GET", url, {"Authorization": "Bearer hidden", "Accept": "application/json"})]


@pytest.mark.parametrize(
    "answer", [told(403, b"hidden"), told(200, b"{}"), told(200, b"["), told(200, b'{"value": 5}')]
)
def test_github_says_no(answer: Told) -> None:
    provider = Provider()
    provider.answers["https://runner.example/token"] = answer
    with pytest.raises(NoIdToken, match="GitHub Actions") as caught:
        Workload(GITHUB, provider).id_token("aud")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://runner.example/token", "https://user@runner.example/", "https://[", "file:///x"]
)
def test_the_runners_token_goes_nowhere_else(url: str) -> None:
    provider = Provider()
    try:
        with pytest.raises(NoIdToken):
            Workload({**GITHUB, "ACTIONS_ID_TOKEN_REQUEST_URL": url}, provider).id_token("aud")
    finally:
        assert provider.asked == []


def test_google_cloud() -> None:
    provider = Provider()
    provider.answers[f"{GOOGLE_URL}/"] = told(200, metadata_flavor="Google")
    path = f"{GOOGLE_URL}/computeMetadata/v1/instance/service-accounts/default/identity"
    provider.answers[path] = told(200, b"a.b.c\n")
    assert Workload({}, provider).id_token("aud") == "a.b.c"
    flavor = {"Metadata-Flavor": "Google"}
    assert provider.asked == [
        ("PUT", EC2_URL, {"X-aws-ec2-metadata-token-ttl-seconds": "1"}),
        ("GET", f"{GOOGLE_URL}/", flavor),
        ("GET", f"{path}?audience=aud&format=full", flavor),
    ]


@pytest.mark.parametrize("seen", ["ec2", "ecs"])
def test_aws_by_botocore(seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def answer(**options: Any) -> dict[str, str]:
        calls.append(options)
        return {"WebIdentityToken": "a.b.c"}

    client = SimpleNamespace(get_web_identity_token=answer)
    session = SimpleNamespace(Session=lambda: SimpleNamespace(create_client=lambda name: client))
    monkeypatch.setitem(sys.modules, "botocore", SimpleNamespace(session=session))
    monkeypatch.setitem(sys.modules, "botocore.session", session)
    provider = Provider()
    if seen == "ec2":
        provider.answers[EC2_URL] = told(200)
    environment = {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4"} if seen == "ecs" else {}
    assert Workload(environment, provider).id_token("aud") == "a.b.c"
    assert calls == [{"Audience": ["aud"], "SigningAlgorithm": "ES384", "DurationSeconds": 300}]


def test_aws_without_botocore_and_one_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider()
    provider.answers[EC2_URL] = told(200)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(NoIdToken, match="pip install botocore"):
        Workload({}, provider).id_token("aud")

    def fail() -> None:
        raise ValueError("hidden")

    monkeypatch.setitem(sys.modules, "botocore", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "botocore.session", SimpleNamespace(Session=fail))
    with pytest.raises(NoIdToken, match="ValueError") as caught:
        Workload({}, provider).id_token("aud")
    assert "hidden" not in str(caught.value)


def test_a_machine_of_nobody() -> None:
    with pytest.raises(NoIdToken, match="id-token: write"):
        Workload({}, Provider()).id_token("aud")


def test_an_answer_that_is_too_long() -> None:
    provider = Provider()
    provider.answers["https://runner.example/token"] = told(200, b"x" * (MAX_ANSWER + 1))
    with pytest.raises(NoIdToken, match="more than"):
        Workload(GITHUB, provider).id_token("aud")


# --- one request ------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    """Its URL, and the requests that it got."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.command, self.path, dict(self.headers)))
            if self.path == "/garbage":
                self.wfile.write(b"\x00\x01\x02\r\n\r\n")
                self.close_connection = True
                return
            self.send_response(302 if self.path == "/away" else 404 if self.path == "/none" else 200)
            self.send_header("Location", "/other")
            self.send_header("X-One", "1")
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        do_PUT = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", seen
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/none", 404), ("/away", 302)])
def test_a_request(server: tuple[str, list[Any]], path: str, status: int) -> None:
    url, seen = server
    found = asked("PUT", url + path, {"Metadata-Flavor": "Google"})
    assert (found.status, found.body, found.headers["x-one"]) == (status, b"hello", "1")
    (request,) = seen
    assert request[:2] == ("PUT", path)
    assert {name.lower(): value for name, value in request[2].items()}["metadata-flavor"] == "Google"


def test_what_is_no_http(server: tuple[str, list[Any]]) -> None:
    with pytest.raises(OSError, match="BadStatusLine"):
        asked("GET", server[0] + "/garbage", {})


def test_nobody_listens() -> None:
    with pytest.raises(OSError, match="Error"):
        asked("GET", "http://127.0.0.1:1/", {})
