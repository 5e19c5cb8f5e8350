"""A Go state becomes ours, whole or not at all; every refusal names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.io.test_directory import GOLDEN
from tests.engine.gostates import NODE, go_state
from tsnet.edge.io.directory import DirectoryStore
from tsnet.edge.io.goimport import MAX_SIZE, import_go_state, read_go_state
from tsnet.edge.io.place import load
from tsnet.edge.io.store import MemoryStore
from tsnet.engine.saved import IDENTITY, PREFS, decode_identity, decode_prefs
from tsnet.errors import StateError, StateLocked


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "tailscale"
    folder.mkdir()
    (folder / "tailscaled.state").write_bytes(go_state())
    return folder / "tailscaled.state"


def test_the_file_or_its_folder_into_a_directory(file: Path, tmp_path: Path) -> None:
    forms: list[Path | str] = [file, str(file), file.parent]
    for place, given in enumerate(forms):
        target = tmp_path / str(place)
        assert import_go_state(given, target) == "https://hs.example.com"
        store = DirectoryStore(target)
        identity = load(store, IDENTITY, decode_identity)
        assert identity is not None
        assert identity.node_key.reveal_text() == NODE
        assert load(store, PREFS, decode_prefs) == {"hostname": "shop", "shields_up": True}
    assert file.read_bytes() == go_state()


def test_a_state_that_a_real_tailscaled_has_written(tmp_path: Path) -> None:
    """Of 1.102, on a tailnet that is no more."""
    store = MemoryStore()
    assert import_go_state(GOLDEN / "tailscaled.state", store) == "http://127.0.0.1:46495"
    identity = load(store, IDENTITY, decode_identity)
    assert identity is not None
    assert (identity.stable_id, identity.login_name) == ("n00000001", "ann@example.com")
    assert load(store, PREFS, decode_prefs) == {"hostname": "daemon", "shields_up": True}


def test_a_node_of_ours_is_not_replaced(file: Path) -> None:
    store = MemoryStore({IDENTITY: b"ours"})
    with pytest.raises(StateError, match="has an identity already"):
        import_go_state(file, store)
    assert store.values == {IDENTITY: b"ours"}


def test_a_directory_in_use(file: Path, tmp_path: Path) -> None:
    user = DirectoryStore(tmp_path / "ours")
    user.open()
    with pytest.raises(StateLocked):
        import_go_state(file, tmp_path / "ours")
    user.close()


@pytest.mark.parametrize("damage", [b"", b"{}", b"x" * (MAX_SIZE + 1)])
def test_a_refusal_names_the_file_and_makes_nothing(file: Path, tmp_path: Path, damage: bytes) -> None:
    file.write_bytes(damage)
    with pytest.raises(StateError, match=f"^the state file {file} (is empty|has no machine key|has more than)"):
        import_go_state(file, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="none cannot be read: No such file"):
        import_go_state(tmp_path / "none", tmp_path / "ours")


def test_a_folder_of_root_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", forbidden)
    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(StateError, match=r"tailscaled\.state cannot be read: "):
        read_go_state(tmp_path / "tailscaled.state")
