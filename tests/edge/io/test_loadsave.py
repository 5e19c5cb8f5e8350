from __future__ import annotations

import os

import attrs
import pytest

from tests.edge.io.identitystore import KeptIdentity
from tests.engine.identities import identity
from tests.house import House
from tsnet.edge.io.loadsave import WrappedStore
from tsnet.edge.io.place import load
from tsnet.engine.identity import Identity, new_identity
from tsnet.engine.saved import CONTROL_KEY, IDENTITY, decode_identity, encode_identity
from tsnet.errors import StateError


@pytest.mark.parametrize("ephemeral", [True, False, None])
def test_the_identity_goes_through_unchanged(ephemeral: bool | None) -> None:
    kept = KeptIdentity()
    store = WrappedStore(kept)
    for each in (identity(ephemeral=ephemeral), attrs.evolve(new_identity(os.urandom), ephemeral=ephemeral)):
        store.write(IDENTITY, encode_identity(each))
        assert kept.identity == each
        assert load(store, IDENTITY, decode_identity) == each


def test_open_and_close_are_passed_on() -> None:
    kept = KeptIdentity()
    store = WrappedStore(kept)
    store.open()
    store.close()
    assert kept.log == ["open", "close"]


def test_other_keys_are_forgotten_with_the_node() -> None:
    kept = KeptIdentity()
    store = WrappedStore(kept)
    store.write(CONTROL_KEY, b"1")
    assert store.read(CONTROL_KEY) == b"1"
    assert kept.saved == 0
    assert WrappedStore(kept).read(CONTROL_KEY) is None


def test_its_own_errors_reach_the_caller() -> None:
    class Broken(KeptIdentity):
        def load(self) -> Identity | None:
            raise StateError("the safe is locked")

        def save(self, identity: Identity) -> None:
            raise KeyError("safe")

    store = WrappedStore(Broken())
    with pytest.raises(StateError, match="the safe is locked"):
        store.read(IDENTITY)
    with pytest.raises(KeyError):
        store.write(IDENTITY, encode_identity(identity()))


class ByField(KeptIdentity):
    """It was written when an identity had fewer fields, and keeps those alone."""

    def save(self, identity: Identity) -> None:
        super().save(attrs.evolve(identity, ephemeral=None))


@pytest.mark.parametrize("ephemeral", [True, False])
@pytest.mark.parametrize("kind", [KeptIdentity, ByField])
def test_a_node_comes_back_from_such_a_store(kind: type[KeptIdentity], ephemeral: bool) -> None:
    house, kept = House(), kind()
    for _ in range(2):
        node = house.handle("a", store=WrappedStore(kept), ephemeral=ephemeral)
        house.finish(node.up(10))
        assert node.config.ephemeral is ephemeral
        house.finish(node.close(2))
    assert kept.identity is not None
    assert kept.identity.registered is not ephemeral
    assert ("a" in house.tailnet.nodes()) is not ephemeral
