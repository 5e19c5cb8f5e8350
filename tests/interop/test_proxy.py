"""Our nodes behind Debian's tinyproxy: control and the relay by CONNECT, with a password, and what it refuses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tsnet
from tests.interop.harness.process import Process, can_connect
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, ip
from tsnet.edge.io.store import MemoryStore
from tsnet.testing.tailnet import Tailnet

pytestmark = pytest.mark.interop

ADDRESS = "10.9.0.1"  # no proxy of the environment is asked for loopback
PORT = 8888
CONFIGURATION = f"""\
Port {PORT}
Listen 127.0.0.1
Allow 127.0.0.1
Timeout 60
BasicAuth user hunter2
LogLevel Connect
"""


@pytest.fixture
def tailnet(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tailnet]:
    need("tinyproxy")
    ip("-n", scene.name, "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://user:hunter2@127.0.0.1:{PORT}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Tailnet(host=ADDRESS) as tailnet:
        yield tailnet


@contextmanager
def tinyproxy(scene: Scene, more: str = "") -> Iterator[Process]:
    file = scene.folder / "tinyproxy.conf"
    file.write_text(CONFIGURATION + more)
    with scene.run("tinyproxy", ["tinyproxy", "-d", "-c", file]) as proxy:
        proxy.wait_until(lambda: can_connect("127.0.0.1", PORT))
        yield proxy


def node(tailnet: Tailnet, name: str, proxy: str | None = None) -> tsnet.Server:
    url, key = tailnet.control_url, tailnet.auth_key
    return tsnet.Server(name, control_url=url, auth_key=key, state=MemoryStore(), proxy=proxy)


def asked_for(proxy: Process) -> set[int]:
    """The ports that it was asked to connect to."""
    return {int(port) for port in re.findall(r": CONNECT \S+:(\d+) HTTP", Path(proxy.log_path).read_text())}


def test_two_nodes_talk_behind_a_proxy_with_a_password(scene: Scene, tailnet: Tailnet) -> None:
    with tinyproxy(scene) as proxy, node(tailnet, "shop") as shop, node(tailnet, "laptop") as laptop:
        shop.reachable()
        with shop.listen(80) as listener, laptop.dial("shop", 80) as out:
            end, _ = listener.accept()
            with end:
                out.sendall(b"hello")
                assert end.recv(9) == b"hello"
        assert asked_for(proxy) >= {urlsplit(tailnet.control_url).port}
        assert len(asked_for(proxy)) == 2  # control's port, and the relay's
    assert "hunter2" not in proxy.log()


def test_a_wrong_password_ends_up_at_once(scene: Scene, tailnet: Tailnet) -> None:
    """tinyproxy says 401 where others say 407."""
    with tinyproxy(scene):
        shop = node(tailnet, "shop", proxy=f"http://user:wrong-secret@127.0.0.1:{PORT}")
        began = time.monotonic()
        with pytest.raises(
            tsnet.ProxyRefused, match=rf"the proxy http://127\.0\.0\.1:{PORT} wants another user .*\(401 "
        ) as raised:
            shop.up()
        assert time.monotonic() - began < 5
        assert "wrong-secret" not in str(raised.value)
        shop.close()


def test_a_port_that_the_proxy_forbids(scene: Scene, tailnet: Tailnet) -> None:
    with tinyproxy(scene, "ConnectPort 443\n"):
        shop = node(tailnet, "shop")
        with pytest.raises(tsnet.ProxyRefused, match=r"\(403 .*allow that host and port"):
            shop.up()
        shop.close()


def test_a_host_that_is_exempt(scene: Scene, tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    with tinyproxy(scene) as proxy, node(tailnet, "shop") as shop:
        shop.reachable()
        assert asked_for(proxy) == set()
