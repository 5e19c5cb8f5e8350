"""Nodes behind an HTTP proxy: the one of an option, and those of the environment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import tsnet
from tests.connect_proxy import ConnectProxy
from tsnet.cli import main
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

CONTROL = "http://control.test"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\n\r\n"
PASSWORD_WANTED = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"


@pytest.fixture
def proxy(tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy]:
    """It alone knows where control.test is."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ConnectProxy() as proxy:
        proxy.routes["control.test", 80] = urlsplit(tailnet.control_url).port or 80
        yield proxy


def node(tailnet: Tailnet, **options: object) -> tsnet.Server:
    given = {
        "control_url": CONTROL,
        "allow_http": True,
        "auth_key": tailnet.auth_key,
        "state": MemoryStore(),
        **options,
    }
    return tsnet.Server("shop", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_the_environments_proxy_leads_to_control(
    variable: str, tailnet: Tailnet, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url("user:hunter2"))
    with node(tailnet) as shop:
        shop.reachable()  # by a relay on loopback, which is not asked of the proxy
        assert shop.name == "shop"
    assert {request.split()[1] for request in proxy.requests} == {"control.test:80"}
    assert "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n" in proxy.requests[0]


def test_an_option_comes_before_the_environment(
    tailnet: Tailnet, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with node(tailnet, proxy=proxy.url()):
        assert proxy.requests
    with node(tailnet, proxy="", control_url=tailnet.control_url):
        pass


@pytest.mark.parametrize("environ", [{"NO_PROXY": "control.test"}, {"NO_PROXY": "*"}, {"HTTPS_PROXY": "x"}])
def test_a_host_that_is_exempt_is_not_asked_of_the_proxy(
    environ: dict[str, str], tailnet: Tailnet, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "HTTPS_PROXY" in environ:
        environ = {"HTTPS_PROXY": proxy.url()}  # which is for links with TLS
    else:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shop = node(tailnet)
    with pytest.raises(tsnet.ControlUnreachable, match="does not resolve"):
        shop.up(timeout=0.5)
    shop.close()
    assert proxy.requests == []


@pytest.mark.parametrize(("answer", "status"), [(PASSWORD_WANTED, "407"), (FORBIDDEN, "403")])
def test_a_proxy_that_says_no_for_good_ends_up_at_once_and_is_named(
    answer: bytes,
    status: str,
    tailnet: Tailnet,
    proxy: ConnectProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url("user:hunter2"))
    proxy.refusal = answer
    shop = node(tailnet)
    began = time.monotonic()
    with pytest.raises(tsnet.ProxyRefused, match=f"the proxy {proxy.url()} .*{status}") as raised:
        shop.up()
    assert time.monotonic() - began < 5
    assert len(proxy.requests) <= 2  # for control's key, and for the login
    assert "hunter2" not in f"{raised.value}{caplog.text}{shop!r}{shop.status()}"
    assert shop.status().state == "failed"
    proxy.refusal = b""
    shop.up()  # tries anew
    shop.close()


def test_other_troubles_of_a_proxy_name_it_too(
    tailnet: Tailnet, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url("user:hunter2"))
    proxy.refusal = b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
    shop = node(tailnet)
    with pytest.raises(tsnet.ControlUnreachable, match=f"through the proxy {proxy.url()}: 502 Bad Gateway") as raised:
        shop.up(timeout=0.3)
    assert "hunter2" not in str(raised.value)
    shop.close()
    shop = node(tailnet, proxy="http://user:hunter2@127.0.0.1:1")
    with pytest.raises(tsnet.ControlUnreachable, match=r"through the proxy http://127\.0\.0\.1:1: .*refused"):
        shop.up(timeout=0.3)
    shop.close()


def test_the_command_says_it_once_and_without_the_password(
    tailnet: Tailnet, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TS_AUTHKEY", tailnet.auth_key)
    proxy.refusal = PASSWORD_WANTED
    assert main(["status", "--control-url", CONTROL, "--allow-http", "--proxy", proxy.url("user:hunter2")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tsnet status: the proxy {proxy.url()} wants another user and password")
    assert said.endswith("(--proxy, HTTPS_PROXY, HTTP_PROXY, NO_PROXY). [proxy-refused]\n")
    assert "hunter2" not in said


@pytest.mark.parametrize("value", ["socks5://u:hunter2@proxy:1", "https://u:hunter2@proxy:1"])
def test_a_variable_that_we_cannot_honour_is_refused_by_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(tsnet.ConfigError, match="HTTPS_PROXY must be http://") as raised:
        tsnet.Server("shop", control_url="https://control.test", ephemeral=True)
    assert "hunter2" not in str(raised.value)
    tsnet.Server("shop", control_url="http://127.0.0.1:1", ephemeral=True)
    monkeypatch.setenv("NO_PROXY", "control.test")
    tsnet.Server("shop", control_url="https://control.test", ephemeral=True)
