"""Our HTTP/1.1 client at Debian's nginx, directly and through tinyproxy, with TLS under a private CA."""

from __future__ import annotations

import itertools
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edge.streams import Streams
from tests.interop.harness.certificates import PrivateCA
from tests.interop.harness.process import Process, can_connect
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tsnet.base.links import Event, Link
from tsnet.base.proxies import asked_for
from tsnet.http1.answers import Answer, Failed, Reason
from tsnet.http1.client import Http1Client

pytestmark = pytest.mark.interop

HTTP, HTTPS, PROXY = 8080, 8443, 8888
PLAIN, TLS = f"http://127.0.0.1:{HTTP}", f"https://127.0.0.1:{HTTPS}"
NGINX = """\
daemon off;
user root;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  server {{
    listen 127.0.0.1:{http};
    listen 127.0.0.1:{https} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    root {folder}/www;
    location /said/       {{ return 200 "$request_method $http_content_type $content_length $http_cookie"; }}
    location /to/         {{ return 302 /said/; }}
    location /to-307/     {{ return 307 /said/; }}
    location /to-plain/   {{ return 302 http://127.0.0.1:{http}/said/; }}
    location /to-tls/     {{ return 301 https://localhost:{https}/said/; }}
    location /for-ever/   {{ return 302 /for-ever/; }}
    location /put/        {{ dav_methods PUT; client_max_body_size 2m; }}
    location /chunks/     {{ alias {folder}/www/; ssi on; ssi_types text/plain; types {{ text/plain txt; }} }}
    location /unframed/   {{ alias {folder}/www/; ssi on; ssi_types text/plain; types {{ text/plain txt; }}
                             chunked_transfer_encoding off; }}
    location /cut/        {{ return 444; }}
    location /slow/       {{ alias {folder}/www/; limit_rate 1k; }}
  }}
}}
"""
TINYPROXY = f"""\
Port {PROXY}
Listen 127.0.0.1
Allow 127.0.0.1
BasicAuth user hunter2
LogLevel Connect
"""
LARGE = b"0123456789abcdef" * (1 << 16)  # 1 MiB, which is as much as is taken


class Asker:
    """A client on real sockets."""

    def __init__(self, streams: Streams, **options: Any) -> None:
        numbers = itertools.count(1)
        self.http = Http1Client(lambda: Link("test", "http", next(numbers)))
        self._streams = streams
        self._links = streams.links(**options)

    def ask(self, method: str, url: str, **options: Any) -> Answer | Failed:
        self.http.request(method, url, now=time.monotonic(), **options)
        while not (answers := self.http.take_answers()):
            for effect in self.http.transmit(time.monotonic()):
                self._links.apply(effect)
            self._streams.turn(self.http.deadline())
            for event in self._links_events():
                self.http.receive(event, time.monotonic())
        (answer,) = answers
        return answer

    def answer(self, method: str, url: str, **options: Any) -> Answer:
        answer = self.ask(method, url, **options)
        assert isinstance(answer, Answer), answer
        return answer

    def failure(self, method: str, url: str, **options: Any) -> Failed:
        answer = self.ask(method, url, **options)
        assert isinstance(answer, Failed), answer
        return answer

    def _links_events(self) -> list[Event]:
        events, self._streams.events[self._links] = self._streams.events[self._links], []
        return events


@pytest.fixture
def streams() -> Iterator[Streams]:
    streams = Streams()
    yield streams
    streams.close()


@pytest.fixture
def roots(scene: Scene) -> ssl.SSLContext:
    """nginx is there, and these are the roots that its certificate is under."""
    need("nginx")
    authority = PrivateCA(scene.folder / "ca")
    certificate, key = authority.leaf("127.0.0.1", "localhost")
    folder = scene.folder / "nginx"
    (folder / "www" / "put").mkdir(parents=True)
    (folder / "www" / "hello.txt").write_text("hello\n")
    (folder / "www" / "large.txt").write_bytes(LARGE)
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, certificate=certificate, key=key, http=HTTP, https=HTTPS))
    scene.run("nginx", ["nginx", "-p", folder, "-c", file]).wait_until(lambda: can_connect("127.0.0.1", HTTPS))
    return ssl.create_default_context(cafile=authority.path)


@pytest.fixture
def asker(streams: Streams, roots: ssl.SSLContext) -> Asker:
    return Asker(streams, ssl_context=roots)


@pytest.fixture
def proxy(scene: Scene, roots: ssl.SSLContext) -> Process:
    need("tinyproxy")
    file = scene.folder / "tinyproxy.conf"
    file.write_text(TINYPROXY)
    proxy = scene.run("tinyproxy", ["tinyproxy", "-d", "-c", file])
    proxy.wait_until(lambda: can_connect("127.0.0.1", PROXY))
    return proxy


def through(streams: Streams, roots: ssl.SSLContext, user: str = "user:hunter2@") -> Asker:
    return Asker(streams, ssl_context=roots, proxies=asked_for(f"http://{user}127.0.0.1:{PROXY}"))


def test_requests_and_their_answers(asker: Asker) -> None:
    for base in (PLAIN, TLS):
        answer = asker.answer("GET", f"{base}/hello.txt")
        assert (answer.status, answer.body, answer.url) == (200, b"hello\n", f"{base}/hello.txt")
        assert answer.headers["server"].startswith("nginx/")
        assert asker.answer("GET", f"{base}/nothing?a b").status == 404
        head = asker.answer("HEAD", f"{base}/large.txt")
        assert (head.headers["content-length"], head.body) == (str(len(LARGE)), b"")
        posted = asker.answer("POST", f"{base}/said/", body=b"a=1", headers=[("Content-Type", "text/x")])
        assert posted.body == b"POST text/x 3 "
        assert asker.answer("POST", f"{base}/said/").body == b"POST  0 "


def test_a_body_there_and_back(asker: Asker) -> None:
    """Larger than the buffers of the sockets, both ways."""
    assert asker.answer("PUT", f"{TLS}/put/large", body=LARGE).status == 201
    assert asker.answer("GET", f"{TLS}/put/large").body == LARGE


def test_bodies_of_every_framing(asker: Asker) -> None:
    chunked = asker.answer("GET", f"{PLAIN}/chunks/large.txt")
    assert chunked.headers["transfer-encoding"] == "chunked"
    unframed = asker.answer("GET", f"{PLAIN}/unframed/large.txt")
    assert not {"transfer-encoding", "content-length"} & unframed.headers.keys()
    assert chunked.body == unframed.body == LARGE


@pytest.mark.parametrize("place", ["", "/chunks", "/unframed"])
def test_a_body_beyond_the_cap(asker: Asker, place: str) -> None:
    failure = asker.failure("GET", f"{TLS}{place}/large.txt", max_body=100_000)
    assert failure.reason is Reason.BODY_TOO_LARGE


def test_redirects(asker: Asker) -> None:
    secrets = [("Cookie", "hunter2")]
    answer = asker.answer("GET", f"{TLS}/to/", headers=secrets)
    assert (answer.url, answer.body) == (f"{TLS}/said/", b"GET   hunter2")
    assert asker.answer("POST", f"{TLS}/to/", body=b"a=1", headers=secrets).body == b"GET   hunter2"
    assert asker.answer("POST", f"{TLS}/to-307/", body=b"a=1").body == b"POST  3 "
    elsewhere = asker.answer("GET", f"{PLAIN}/to-tls/", headers=secrets)
    assert (elsewhere.url, elsewhere.body) == (f"https://localhost:{HTTPS}/said/", b"GET   ")
    assert asker.failure("GET", f"{TLS}/to-plain/").reason is Reason.DOWNGRADE
    assert asker.failure("GET", f"{TLS}/for-ever/").reason is Reason.REDIRECTS
    assert asker.answer("GET", f"{PLAIN}/to-tls/", max_redirects=0).status == 301


def test_what_goes_wrong(asker: Asker, streams: Streams) -> None:
    assert asker.failure("GET", f"{PLAIN}/cut/").reason is Reason.TRUNCATED
    assert asker.failure("GET", f"{PLAIN}/slow/large.txt", timeout=0.2).reason is Reason.TIMEOUT
    assert asker.failure("GET", "http://127.0.0.1:1/") == Failed(3, Reason.LINK, "refused")
    with_tls = asker.failure("GET", f"https://127.0.0.1:{HTTP}/")
    assert with_tls.reason is Reason.LINK
    assert with_tls.detail.startswith("tls: ")
    untrusting = Asker(streams).failure("GET", f"{TLS}/hello.txt")
    assert untrusting.reason is Reason.LINK
    assert untrusting.detail.startswith("certificate: ")


def test_through_a_proxy(streams: Streams, roots: ssl.SSLContext, proxy: Process) -> None:
    asker = through(streams, roots)
    for base in (PLAIN, TLS):
        assert asker.answer("GET", f"{base}/hello.txt").body == b"hello\n"
        assert asker.answer("POST", f"{base}/said/", body=b"a=1").body == b"POST  3 "
        assert asker.answer("GET", f"{base}/large.txt").body == LARGE
    log = Path(proxy.log_path).read_text()
    assert set(re.findall(r"Request.*: (.*)", log)) == {f"CONNECT 127.0.0.1:{port} HTTP/1.1" for port in (HTTP, HTTPS)}
    assert asker.answer("GET", f"{PLAIN}/hello.txt", direct=True).body == b"hello\n"
    assert Path(proxy.log_path).read_text() == log


def test_a_proxy_that_refuses(streams: Streams, roots: ssl.SSLContext, proxy: Process) -> None:
    """tinyproxy says 401 where others say 407."""
    failure = through(streams, roots, "user:wrong-secret@").failure("GET", f"{TLS}/hello.txt")
    assert failure.reason is Reason.LINK
    assert failure.detail.startswith(f"proxy http://127.0.0.1:{PROXY}: 401 ")
    assert "secret" not in repr(failure)
