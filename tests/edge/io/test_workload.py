from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.webdouble import WebAnswer, WebDouble, WebRequest, web_double
from tsnet.edge.io import workload as module
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
    with pytest.raises(NoIdToken, match=r"pip install 'tsnet-py\[aws\]'"):
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


def answer(request: WebRequest) -> WebAnswer:
    if request.path == "/garbage":
        return WebAnswer(raw=b"\x00\x01\x02\r\n\r\n")
    status = {"/away": 302, "/none": 404}.get(request.path, 200)
    return WebAnswer(b"hello", status, {"Location": "/other", "X-One": "1"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebDouble]:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with web_double(answer) as double:
        yield double


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/none", 404), ("/away", 302)])
def test_a_request(server: WebDouble, path: str, status: int) -> None:
    found = asked("PUT", server.url + path, {"Metadata-Flavor": "Google"})
    assert (found.status, found.body, found.headers["x-one"]) == (status, b"hello", "1")
    (request,) = server.asked
    assert (request.method, request.path, request.headers["metadata-flavor"]) == ("PUT", path, "Google")


def test_what_is_no_http(server: WebDouble) -> None:
    with pytest.raises(OSError, match="BadStatusLine"):
        asked("GET", server.url + "/garbage", {})


def test_nobody_listens() -> None:
    with pytest.raises(OSError, match="Error"):
        asked("GET", "http://127.0.0.1:1/", {})


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_one_that_drips_has_as_long_as_one_that_is_silent(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then begins no new time limit: the whole request has one."""
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with dripping(sent) as url:
        begun = time.monotonic()
        with pytest.raises(OSError, match="TimeoutError"):
            asked("GET", url, {})
        assert time.monotonic() - begun < 5


@contextlib.contextmanager
def dripping(first: bytes) -> Iterator[str]:
    """A server that sends that, and then a space every 20 ms."""
    ended = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            sock = listener.accept()[0]
            with sock:
                sock.sendall(first)
                while not ended.wait(0.02):
                    sock.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        ended.set()
    thread.join()


# --- AWS, by the real botocore ----------------------------------------------------------------------------------


def sts(request: WebRequest) -> WebAnswer:
    said = (
        "<GetWebIdentityTokenResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetWebIdentityTokenResult>"
        "<WebIdentityToken>a.b.c</WebIdentityToken><Expiration>2030-01-01T00:00:00Z</Expiration>"
        "</GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
    )
    return WebAnswer(said.encode(), 200, {"Content-Type": "text/xml"})


def test_botocore_signs_the_request_and_reads_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore.session", reason="botocore is not installed")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with web_double(sts) as double:
        told_in = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-north-1"}
        told_in |= {"AWS_DEFAULT_REGION": "eu-north-1", "AWS_ENDPOINT_URL_STS": double.url}
        files = {name: str(tmp_path / name) for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
        for name, value in {**told_in, **files, "NO_PROXY": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        provider = Provider()
        provider.answers[EC2_URL] = told(200)
        assert Workload({}, provider).id_token("api.tailscale.com/1") == "a.b.c"
    (request,) = double.asked
    form = dict(parse_qsl(request.body.decode()))
    assert form["Action"] == "GetWebIdentityToken"
    assert (form["Audience.member.1"], form["SigningAlgorithm"], form["DurationSeconds"]) == (
        "api.tailscale.com/1",
        "ES384",
        "300",
    )
    assert request.headers["Authorization"] == signature(request, "AKID", "secret", "eu-north-1")


def signature(request: WebRequest, key_id: str, secret: str, region: str) -> str:
    """What the Authorization must be, written from AWS's description of Signature Version 4."""
    names = request.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    stamp = request.headers["X-Amz-Date"]
    scope = [stamp[:8], region, "sts", "aws4_request"]
    signed = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names.split(";"))
    parts = [request.method, request.path, "", signed, names, hashlib.sha256(request.body).hexdigest()]
    whole = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    mark = hmac.digest(key, "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), whole]).encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={key_id}/{'/'.join(scope)}, SignedHeaders={names}, Signature={mark}"
