"""A keyring as a store: what it keeps, who is locked out, and how it fails."""

from __future__ import annotations

import base64
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tsnet
from tests.engine.identities import identity
from tsnet.edge.io.keyringstore import KeyringStore
from tsnet.engine.homerelay import encode_home
from tsnet.engine.saved import encode_identity
from tsnet.errors import ConfigError, StateError, StateLocked
from tsnet.netmap.model import DerpNode, DerpRegion
from tsnet.testing import Tailnet


class Ring:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.failure: Exception | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure:
            raise self.failure
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.failure:
            raise self.failure
        self.kept[service, username] = password


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def ring() -> Ring:
    return Ring()


def test_its_entries(ring: Ring) -> None:
    store = KeyringStore("shop", ring)
    store.open()
    assert store.read("identity") is None
    assert store.keys() == ()
    store.write("identity", b"\0one")
    store.write("prefs", b"two")
    store.write("identity", b"\xffthree")
    store.close()
    again = KeyringStore("shop", ring)
    assert again.read("identity") == b"\xffthree"
    assert again.keys() == ("identity", "prefs")
    assert KeyringStore("other", ring).keys() == ()
    assert ring.kept["tsnet/shop", ".keys"] == "identity prefs"


def test_one_node_at_a_time(ring: Ring) -> None:
    first, second, other = KeyringStore("shop", ring), KeyringStore("shop", ring), KeyringStore("other", ring)
    first.open()
    other.open()
    with pytest.raises(StateLocked):
        second.open()
    with pytest.raises(StateError, match="not open"):
        second.write("identity", b"")
    first.close()
    second.open()
    for store in (first, second, other):
        store.close()


def test_a_keyring_that_fails_is_named_without_its_words(ring: Ring) -> None:
    store = KeyringStore("shop", ring)
    store.open()
    ring.failure = RuntimeError("privkey:secret")
    for call in (lambda: store.read("identity"), lambda: store.write("identity", b""), store.keys):
        with pytest.raises(
            StateError, match=r"the keyring of this system failed \(RuntimeError\)\. Unlock it"
        ) as raised:
            call()
        assert "secret" not in str(raised.value)
    store.close()
    with pytest.raises(StateError, match="failed"):
        store.open()
    ring.failure = None
    store.open()
    store.close()


def test_the_package_is_imported_when_it_is_needed(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    store = KeyringStore("shop")
    with pytest.raises(StateError, match=r"pip install 'tsnet-py\[keyring\]'"):
        store.open()
    package = SimpleNamespace(get_password=ring.get_password, set_password=ring.set_password)
    monkeypatch.setitem(sys.modules, "keyring", package)
    store.open()
    store.write("identity", b"one")
    store.close()
    assert KeyringStore("shop", ring).read("identity") == b"one"


def test_an_entry_that_is_none_of_ours(ring: Ring) -> None:
    ring.kept["tsnet/shop", "identity"] = "not base64!"
    with pytest.raises(StateError, match="'identity' of tsnet/shop in the keyring is damaged"):
        KeyringStore("shop", ring).read("identity")


@pytest.mark.parametrize("name", ["", "a/b", "Shop", "..", "a b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="such as a hostname"):
        KeyringStore(name)


# --- by the real package, and backends that others wrote --------------------------------------------------------


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Any]:
    """The package, with a file for a keyring, as on a machine without a desktop."""
    keyring = pytest.importorskip("keyring", reason="keyring is not installed")
    before = keyring.get_keyring()
    plain = pytest.importorskip("keyrings.alt.file", reason="keyrings.alt is not installed").PlaintextKeyring()
    plain.file_path = str(tmp_path / "ring.cfg")
    keyring.set_keyring(plain)
    yield keyring
    keyring.set_keyring(before)


def test_the_real_package_keeps_every_byte_of_a_value(backend: Any) -> None:
    values = {"identity": encode_identity(identity()), "prefs": bytes(range(256)) * 8}
    store = KeyringStore("shop")
    store.open()
    for key, value in values.items():
        store.write(key, value)
    store.close()
    assert {key: KeyringStore("shop").read(key) for key in KeyringStore("shop").keys()} == values  # noqa: SIM118
    assert backend.get_password("tsnet/shop", ".keys") == "identity prefs"


def test_a_node_comes_back_from_it(backend: Any) -> None:
    with Tailnet() as tailnet:
        options: dict[str, Any] = {"control_url": tailnet.control_url}
        with tsnet.Server("shop", auth_key=tailnet.auth_key, state=KeyringStore("shop"), **options) as node:
            addresses = node.addresses
        with tsnet.Server("shop", state=KeyringStore("shop"), **options) as node:
            assert node.addresses == addresses


@pytest.mark.parametrize(("module", "words"), [("fail", "NoKeyringError"), ("null", "keeps nothing")])
def test_one_that_is_missing_or_switched_off_is_told(backend: Any, module: str, words: str) -> None:
    backend.set_keyring(importlib.import_module(f"keyring.backends.{module}").Keyring())
    store = KeyringStore("shop")

    def use() -> None:
        store.open()
        store.write("identity", b"one")

    with pytest.raises(StateError, match=words):
        use()
    store.close()


def test_an_identity_fits_into_an_entry_of_windows() -> None:
    long = identity(control_url="https://" + "c" * 60, login_name="l" * 60, stable_id="n" * 20)
    assert len(base64.b64encode(encode_identity(long))) <= 1280


@pytest.mark.parametrize(("servers", "fits"), [(5, True), (8, False)])
def test_the_home_relay_fits_as_well_unless_its_region_has_many_servers(servers: int, fits: bool) -> None:
    one = DerpNode("4a", 4, "derp4a.tailscale.com", ipv4="185.40.234.219", ipv6="2a00:dd80:20::acf", can_port_80=True)
    value = encode_home(DerpRegion(4, "fra", "Frankfurt", nodes=(one,) * servers), "https://controlplane.tailscale.com")
    assert (len(base64.b64encode(value)) <= 1280) is fits
