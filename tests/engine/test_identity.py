from __future__ import annotations

import itertools
import pickle
import random
from typing import Any

import attrs
import pytest

from tsnet.base.crypto import node_public
from tsnet.engine.identity import Identity, check_ephemeral, new_identity
from tsnet.errors import ConfigError


def identity(seed: int = 1) -> Identity:
    return new_identity(random.Random(seed).randbytes)


def test_three_keys_that_have_nothing_to_do_with_each_other() -> None:
    keys = [identity().machine_key, identity().node_key, identity().lock_key]
    for one, other in itertools.combinations(keys, 2):
        assert one.reveal()[:32] != other.reveal()[:32]


def test_the_same_entropy_gives_the_same_identity() -> None:
    assert identity(1).node_key.reveal() == identity(1).node_key.reveal() != identity(2).node_key.reveal()


def test_the_public_key_is_that_of_the_node_key() -> None:
    assert identity().public == node_public(identity().node_key)


def test_a_new_one_has_been_nowhere() -> None:
    new = identity()
    assert (new.registered, new.control_url, new.stable_id, new.timestamp_mark) == (False, "", "", None)


def test_nothing_secret_in_its_repr_and_no_pickle() -> None:
    new = attrs.evolve(identity(), old_node_key=identity(2).node_key)
    for key in (new.machine_key, new.node_key, new.lock_key, new.old_node_key):
        assert key is not None
        assert key.reveal().hex() not in repr(new)
        assert repr(key.reveal()) not in repr(new)
    with pytest.raises(TypeError):
        pickle.dumps(new)


# --- ephemeral --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False, None])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_node_that_control_does_not_know_is_what_is_wanted(kept: bool | None, wanted: bool) -> None:
    assert check_ephemeral(attrs.evolve(identity(), ephemeral=kept), wanted) is wanted


@pytest.mark.parametrize("wanted", [True, False])
def test_an_ephemeral_node_goes_on_as_one(wanted: bool) -> None:
    assert check_ephemeral(attrs.evolve(identity(), registered=True, ephemeral=True), wanted)


@pytest.mark.parametrize("known", [{"registered": True}, {"old_node_key": identity(2).node_key}])
def test_a_lasting_node_is_never_made_ephemeral(known: dict[str, Any]) -> None:
    """Also in the middle of a change of keys, when the new one is not registered yet."""
    lasting = attrs.evolve(identity(), ephemeral=False, **known)
    assert not check_ephemeral(lasting, False)
    with pytest.raises(ConfigError, match=r"that of a lasting node.*leave it out.*leave state= out"):
        check_ephemeral(lasting, True)


@pytest.mark.parametrize("wanted", [True, False])
def test_where_a_store_does_not_say_what_is_wanted_counts(wanted: bool) -> None:
    assert check_ephemeral(attrs.evolve(identity(), registered=True), wanted) is wanted
