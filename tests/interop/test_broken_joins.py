"""Joins that cannot be: what answers in control's place, seen by the API and by a command, through a proxy and without.

nginx is the web servers, the login page and the proxy that opens TLS; openssl's certificates are Debian's; tinyproxy is
the proxy. Each is told with a typed error and its remedy within five seconds.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tsnet
from tests.interop.harness.certificates import PrivateCA
from tests.interop.harness.process import can_connect
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, ip
from tsnet.cli.command import main
from tsnet.edge.io.store import MemoryStore

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

ADDRESS, HOTEL, PROXY_PORT = "10.9.0.1", "10.9.0.2", 8888  # no proxy of the environment is asked for loopback
PLAIN = """
server {{ listen {address}:{port}; {body} }}
"""
SECURE = """
server {{ listen {address}:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; {body} }}
"""
PAGE = "default_type text/html; location / { return 200 '<html><title>Hotel Wi-Fi</title>Welcome</html>'; }"
GATEWAY = "/O=Acme Inc/CN=Acme Gateway"
AWAY = "location / { return 302 http://portal.hotel.test/login; }"


class Broken(NamedTuple):
    """says: words of the message. is_final: `up` raises it at once; others are told at once, and raised in the end."""

    place: str
    code: str
    says: tuple[str, ...]
    is_final: bool = True


BROKEN = [
    Broken("http://{address}:8001", "captive-portal", ("'Hotel Wi-Fi'", "visit any http:// page")),
    Broken("http://{address}:8002", "captive-portal", ("http://portal.hotel.test/login",)),
    Broken("http://{address}:8003", "not-a-control-server", ("HTTP status 404", "{url}")),
    Broken("https://{address}:8003", "not-a-control-server", ("does not speak TLS",)),
    Broken("https://{address}:8004", "control-certificate", ("issued by 'Acme Gateway' of 'Acme Inc'", "{ca}")),
    Broken("https://{address}:8005", "control-certificate", ("it is for 'other.test'", "{url}")),
    Broken("https://{address}:8006", "control-certificate", ("expired (valid until ", "clock says ", "set the clock")),
    Broken("https://{address}:8007", "control-certificate", ("not yet valid (valid from ", "set the clock")),
    Broken("http://{address}:8008", "not-a-control-server", ("'SSH-2.0-OpenSSH_9.2p1 ",)),
    Broken("https://{address}:8008", "not-a-control-server", ("does not speak TLS",)),
    Broken("http://{address}:8009", "control-unreachable", ("no answer so far", "{url}"), is_final=False),
    Broken("https://{address}:8009", "control-unreachable", ("no answer so far",), is_final=False),
    Broken("http://{address}:8010", "captive-portal", ("HTTP status 511",)),
    Broken("https://{hotel}:8011", "captive-portal", ("http://portal.hotel.test/login", "it is for 'other.test'")),
]


@pytest.fixture
def street(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Everything that is not control, and a CA file that trusts one of them."""
    need("nginx", "tinyproxy")
    for address in (ADDRESS, HOTEL):
        ip("-n", scene.name, "addr", "add", f"{address}/32", "dev", "lo")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ca = PrivateCA(scene.folder / "ca")
    with scene.run("nginx", ["nginx", "-c", configuration(scene.folder, ca)]) as nginx, Listeners() as listeners:
        listeners.serve(8008, b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
        listeners.serve(8009, b"")
        nginx.wait_until(lambda: can_connect(ADDRESS, 8010))
        yield ca.path


def configuration(folder: Path, ca: PrivateCA) -> Path:
    servers = [
        PLAIN.format(address=ADDRESS, port=port, body=body)
        for port, body in [
            (8001, PAGE),
            (8002, AWAY),
            (8003, "location / { return 404; }"),
            (8010, "location / { return 511; }"),
        ]
    ]
    pairs = {
        8004: intercepting(folder),
        8005: ca.leaf("other.test"),
        8006: ca.leaf(ADDRESS, days=(-3, -1)),
    }
    pairs[8006] = tuple(path.rename(path.with_name(f"old-{path.name}")) for path in pairs[8006])  # type: ignore[assignment]
    pairs[8007] = ca.leaf(ADDRESS, days=(1, 3))
    for port, (certificate, key) in pairs.items():
        servers.append(SECURE.format(address=ADDRESS, port=port, certificate=certificate, key=key, body="return 404;"))
    certificate, key = pairs[8005]
    servers.append(SECURE.format(address=HOTEL, port=8011, certificate=certificate, key=key, body="return 404;"))
    servers.append(PLAIN.format(address=HOTEL, port=80, body=AWAY))
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; "
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n{''.join(servers)} }}\n"
    )
    return file


def intercepting(folder: Path) -> tuple[Path, Path]:
    """The certificate that a company's proxy makes for whatever is visited, made by the openssl command."""
    paths = {name: folder / f"gateway-{name}" for name in ("ca.key", "ca.pem", "key", "csr", "pem", "names")}
    paths["names"].write_text(f"subjectAltName=IP:{ADDRESS}\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    days, signer = ("-days", "9"), ("-CA", paths["ca.pem"], "-CAkey", paths["ca.key"], "-CAcreateserial")
    for arguments in (
        ["req", "-x509", *curve, "-keyout", paths["ca.key"], "-out", paths["ca.pem"], *days, "-subj", GATEWAY],
        ["req", *curve, "-keyout", paths["key"], "-out", paths["csr"], "-subj", f"/CN={ADDRESS}"],
        ["x509", "-req", "-in", paths["csr"], *signer, *days, "-extfile", paths["names"], "-out", paths["pem"]],
    ):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
    return paths["pem"], paths["key"]


class Listeners:
    """Servers that greet whoever connects, or say nothing at all."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def serve(self, port: int, greeting: bytes) -> None:
        server = socket.create_server((ADDRESS, port))
        self._sockets.append(server)

        def accept() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                self._sockets.append(taken)
                taken.sendall(greeting)

        threading.Thread(target=accept, daemon=True).start()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture(params=["direct", "proxy"])
def proxy(request: pytest.FixtureRequest, scene: Scene) -> Iterator[str]:
    """The URL of the proxy; "" for none."""
    if request.param == "direct":
        yield ""
        return
    need("tinyproxy")
    file = scene.folder / "tinyproxy.conf"
    file.write_text(f"Port {PROXY_PORT}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\n")
    with scene.run("tinyproxy", ["tinyproxy", "-d", "-c", file]) as running:
        running.wait_until(lambda: can_connect("127.0.0.1", PROXY_PORT))
        yield f"http://127.0.0.1:{PROXY_PORT}"


def expected(broken: Broken, *, of_a_command: bool) -> list[str]:
    url, ca = ("--control-url", "--ca-file") if of_a_command else ("control_url=", "ssl_context=")
    return [text.format(url=url, ca=ca) for text in broken.says]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.place.format(address="", hotel="hotel"))
def test_the_api_is_told(street: Path, proxy: str, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(street))
    url = broken.place.format(address=ADDRESS, hotel=HOTEL)
    node = tsnet.Server("shop", control_url=url, auth_key="tskey-secret", state=MemoryStore(), proxy=proxy)
    events = node.events()
    began = time.monotonic()
    try:
        with pytest.raises(tsnet.Error) as raised:
            node.up(timeout=4.8)
        assert time.monotonic() - began < 5.5
        assert raised.value.code == broken.code
        assert [text for text in expected(broken, of_a_command=False) if text not in str(raised.value)] == []
        assert "secret" not in str(raised.value)
        problem = next(event for event in events if isinstance(event, tsnet.events.Problem))
        assert str(problem.error) == str(raised.value)
        assert node.status().state == ("failed" if broken.is_final else "starting")
    finally:
        node.close()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.place.format(address="", hotel="hotel"))
def test_a_command_is_told(
    street: Path, proxy: str, broken: Broken, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TS_AUTHKEY", "tskey-secret")
    url = broken.place.format(address=ADDRESS, hotel=HOTEL)
    began = time.monotonic()
    log = logging.getLogger("tsnet")
    before = log.handlers[:], log.level, log.propagate
    arguments = ["--control-url", url, "--proxy", proxy, "--ca-file", str(street), "--timeout", "4.8"]
    try:
        assert main(["status", *arguments]) == 1
    finally:
        log.handlers[:], log.propagate = before[0], before[2]
        log.setLevel(before[1])
    assert time.monotonic() - began < 5.5
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == (1 if broken.is_final else 2), err
    assert lines[-1].endswith(f" [{broken.code}]")
    assert [text for text in expected(broken, of_a_command=True) if text not in err] == []
    assert "secret" not in err


def test_no_name_server(street: Path) -> None:
    """The namespace has no way to one."""
    node = tsnet.Server("shop", control_url="https://control.example", auth_key="k", state=MemoryStore())
    began = time.monotonic()
    with pytest.raises(tsnet.ControlUnreachable, match=r"no name server of this machine answers|no answer so far"):
        node.up(timeout=4.8)
    assert time.monotonic() - began < 5.5
    node.close()


@pytest.mark.parametrize(
    ("answer", "url", "error", "says"),
    [
        (ADDRESS, "http://control.example:8001", tsnet.CaptivePortal, "'Hotel Wi-Fi'"),
        (ADDRESS, "https://control.example:8005", tsnet.ControlCertificateError, "it is for 'other.test'"),
        ("127.0.0.1", "https://control.example:8001", tsnet.ControlUnreachable, "leads to this machine itself"),
        ("0.0.0.0", "https://control.example:8000", tsnet.ControlUnreachable, "leads to this machine itself"),
        ("", "https://control.example", tsnet.ControlUnreachable, "does not resolve"),
    ],
    ids=["a search page", "a parking page", "loopback", "a filter", "unknown"],
)
def test_name_servers_that_lie(
    street: Path, answer: str, url: str, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("SSL_CERT_FILE", str(street))
    node = tsnet.Server("shop", control_url=url, auth_key="k", state=MemoryStore(), allow_http=True, proxy="")
    with pytest.raises(error, match=says):
        node.up(timeout=2)
    node.close()
