from __future__ import annotations

from pathlib import Path

import pytest

from tsnet.edge.io.keyfile import key_of, one_word
from tsnet.errors import ConfigError


def test_a_key_is_itself_or_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("tskey-auth-1\n")
    assert key_of(f"file:{path}") == key_of(f" file:{path}\n") == "tskey-auth-1"
    assert key_of("tskey-auth-2") == "tskey-auth-2"
    assert key_of("") == ""


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("tskey-auth-3")
    assert key_of("file:~/key") == "tskey-auth-3"


@pytest.mark.parametrize("content", [b"", b"\n", b"tskey-auth-hidden two", b"\xff\xfe"])
def test_a_file_without_a_key(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="key") as error:
        key_of(f"file:{path}")
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/no/such", "No such file"), ("~nobody-of-that-name/key", "No such file"), ("a\0b", "it is no text"), ("", "No")],
)
def test_a_file_that_is_not_there(path: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"no auth key can be read from .*: {why}"):
        key_of(f"file:{path}")


def test_a_key_in_the_place_of_a_path_is_not_shown() -> None:
    with pytest.raises(ConfigError, match='"file:" goes before the path') as error:
        key_of("file:tskey-auth-hidden")
    assert "hidden" not in str(error.value)


def test_a_word() -> None:
    assert one_word(" a\n", "stdin", "auth key") == "a"
    with pytest.raises(ConfigError, match=r"^stdin holds no ID token: it must be one word$"):
        one_word("a b", "stdin", "ID token")
