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


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no auth key can be read from /no/such: No such file"):
        key_of("file:/no/such")


def test_a_word() -> None:
    assert one_word(" a\n", "stdin", "auth key") == "a"
    with pytest.raises(ConfigError, match=r"^stdin holds no ID token: it must be one word$"):
        one_word("a b", "stdin", "ID token")
