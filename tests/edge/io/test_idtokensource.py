from __future__ import annotations

from pathlib import Path

import pytest

from tsnet.edge.io.idtokensource import MAX_FILE, token_source
from tsnet.errors import NoIdToken


def test_a_text() -> None:
    assert token_source("a.b.c", "", {})() == "a.b.c"


def test_a_function() -> None:
    numbers = iter("12")
    obtain = token_source(lambda: next(numbers), "", {})
    assert [obtain(), obtain()] == ["1", "2"]


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    obtain = token_source(path, "", {})
    for text in ("one", "two"):
        path.write_text(f"{text}\n")
        assert obtain() == text


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("one")
    assert token_source(Path("~/token"), "", {})() == "one"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"x" * (MAX_FILE + 1)])
def test_a_file_without_a_token(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NoIdToken, match=str(path)):
        token_source(path, "", {})()


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NoIdToken, match="directory"):
        token_source(tmp_path, "", {})()


def test_an_audience_asks_the_provider_with_the_environment_of_then() -> None:
    environment = {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://public.example", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}
    obtain = token_source(None, "aud", environment)
    environment.clear()
    with pytest.raises(NoIdToken, match="https://"):
        obtain()
