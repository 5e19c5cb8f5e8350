"""What both servers share: their options, and what they answer at once."""

from __future__ import annotations

import itertools
import ssl
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import anyio
import pytest

import tsnet
from tests.guests import guest_of
from tests.virtual import VirtualTailnet
from tsnet.errors import ConfigError
from tsnet.testing.tailnet import Tailnet


def test_making_one_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for own_thread in (True, False):
        server = tsnet.AsyncServer("shop", control_url="https://control.test", own_thread=own_thread)
        assert list(tmp_path.iterdir()) == []
        assert repr(server) == "<AsyncServer shop stopped>"
        assert (server.name, server.fqdn, server.url, server.addresses) == ("", "", "", ())
        assert (server.whois("100.64.0.1"), server.resolve("a")) == (None, ())
        assert server.status().state == "stopped"


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("hostname", [5, "-_-", b"x"]),
        ("auth_key", [5, b"tskey-auth-secret"]),
        ("control_url", [5, "ftp://x", "x"]),
        ("state", [5, "", tsnet.Store]),
        ("tags", ["web", 5, [5], None]),
        ("port", ["80", -1, True, 1.5, 65_536]),
        ("ssl_context", [5, "x"]),
        ("proxy", ["socks5://x:1", "https://x:1", 5]),
        ("on_auth_url", [5]),
        ("control_key", [5, "mkey:1"]),
        ("shields_up", [1, "yes"]),
        ("ephemeral", ["no", 0, None]),
        ("allow_http", ["yes", 1]),
        ("own_thread", ["yes", 0]),
        ("world", [5]),
    ],
)
def test_every_option_is_checked_when_a_server_is_made(option: str, values: list[object]) -> None:
    for kind, value in itertools.product((tsnet.Server, tsnet.AsyncServer), values):
        options: dict[str, Any] = {"hostname": "shop", "control_url": "https://control.test", "ephemeral": True}
        with pytest.raises(ConfigError) as raised:
            kind(**{**options, option: value})
        assert "secret" not in str(raised.value)


def test_an_auth_key_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the option, in the environment, and of a login."""
    file = tmp_path / "key"
    file.write_text("tskey-auth-kept\n")
    options: dict[str, Any] = {"control_url": "https://control.test", "ephemeral": True}
    node = tsnet.Server("shop", auth_key=f"file:{file}", **options)
    assert node._config.auth_key == "tskey-auth-kept"
    assert node._login_options(f"file:{file}", False) == ("tskey-auth-kept", False)
    assert node._login_options(None, True) == ("", True)
    with pytest.raises(ConfigError, match="no auth key can be read from /no/such: No such file"):
        node._login_options("file:/no/such", False)
    monkeypatch.setenv("TS_AUTHKEY", f"file:{file}")
    assert tsnet.Server("shop", **options)._config.auth_key == "tskey-auth-kept"
    assert tsnet.Server("shop", auth_key="", **options)._config.auth_key == ""
    file.write_text("tskey-client-a-b")
    with pytest.raises(ConfigError, match="client secret goes to the constructor"):
        node._login_options(f"file:{file}", False)
    file.unlink()
    with pytest.raises(ConfigError, match="no auth key can be read"):
        tsnet.Server("shop", **options)


@pytest.mark.parametrize("host", [None, 5, b"shop", ["shop"], ip_network("100.64.0.1")])
def test_a_host_is_a_text_or_an_address(host: Any) -> None:
    node = tsnet.Server("shop", control_url="https://control.test", ephemeral=True)
    for use in (
        lambda: node.dial(host, 80),
        lambda: node.dial_packet(host, 80),
        lambda: node.ping(host),
        lambda: node.explain(host),
        lambda: node.forward_local(host, 80),
        lambda: node.resolve(host),
        lambda: node.whois(host),
    ):
        with pytest.raises(ConfigError, match="a host is a name or an address, as text or an object"):
            use()
    assert node.status().state == "stopped"


@pytest.mark.parametrize(
    ("name", "label"), [("My_App", "my-app"), ("x86_64-linux", "x86-64-linux"), ("x" * 68, "x" * 63)]
)
@pytest.mark.parametrize("is_in_environment", [False, True])
def test_a_hostname_that_is_no_label_is_cleaned_and_that_is_told_once(
    name: str, label: str, is_in_environment: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TS_HOSTNAME", name if is_in_environment else "other")
    server = tsnet.Server(None if is_in_environment else name, control_url="https://control.test", ephemeral=True)
    assert server.status().hostname == label
    assert [record.getMessage() for record in caplog.records] == [
        f"the hostname {name!r} is no DNS label: this node asks control for {label!r}"
    ]


def test_what_it_is_not() -> None:
    with pytest.raises(ConfigError):
        tsnet.AsyncServer("-_-", control_url="https://control.test")
    with pytest.raises(ConfigError):
        tsnet.AsyncServer("a", control_url="https://control.test", state=7)  # type: ignore[arg-type]


# --- joined ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_control_granted(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual, virtual.server("a") as a, virtual.server("b") as b:
            assert (a.name, a.fqdn, a.url) == ("a", "a.tailnet.test", "http://a/")
            assert [address.version for address in a.addresses] == [4, 6]
            async with virtual.server("a") as second:
                assert second.name == "a-1"
            peer = b.whois(f"{a.addresses[0]}:1234")
            assert peer is not None
            assert (peer.name, peer.user_login) == ("a", "you@tailnet.test")
            assert b.whois(str(a.addresses[1])) == b.whois(f"[{a.addresses[1]}]:80") == peer
            assert b.whois(a.addresses[1]) == peer
            assert b.whois("nonsense") is None
            assert b.resolve("a") == b.resolve("a.tailnet.test") == a.addresses
            assert b.resolve("nobody") == ()
            status = b.status()
            assert (status.state, status.name, status.addresses) == ("running", "b", b.addresses)
            assert "a" in [one.name for one in status.peers]

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("url", ["https://control.test", "http://127.0.0.1:1"])
def test_no_secret_goes_to_a_server_that_is_not_verified(url: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options: dict[str, Any] = {"control_url": url, "client_secret": "tskey-client-a-b", "tags": ["tag:ci"]}
    if url.startswith("https:"):
        with pytest.raises(ConfigError, match="verifies no certificate"):
            tsnet.Server("shop", ssl_context=context, **options)
    else:
        tsnet.Server("shop", ssl_context=context, **options)
    tsnet.Server("shop", ssl_context=ssl.create_default_context(), **options)


@pytest.mark.parametrize("version", [0, 1], ids=["v4", "v6"])
def test_an_address_that_the_api_shows_is_a_host_as_it_is(tailnet: Tailnet, version: int) -> None:
    with tsnet.Server("a", **guest_of(tailnet)) as a, tsnet.Server("b", **guest_of(tailnet)) as b, a.listen(80):
        a.reachable()
        address = b.status().peers[0].addresses[version]
        with b.dial(address, 80), b.dial_packet(address, 80):
            assert b.ping(address).seconds < 5
        assert b.explain(address).target == str(address)
        with b.forward_local(address, 80):
            assert b.whois(address) == b.whois(str(address))

        async def main() -> None:
            async with tsnet.AsyncServer("c", **guest_of(tailnet)) as c:
                async with await c.dial_packet(address, 80):
                    pass
                assert (await c.explain(address)).target == str(address)

        anyio.run(main)
