from __future__ import annotations

import io
import os
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from tsnet.cli.folder import Folder

Get = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "index.html").write_text("<h1>docs</h1>")
    (root / "files").mkdir()
    (root / "files" / "a & b.txt").write_text("both")
    (root / "files" / "ü.txt").write_text("umlaut")
    (root / "a.tar.gz").write_bytes(b"\x1f\x8b")
    (root / ".env").write_text("SECRET")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("SECRET")
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "site2").mkdir()
    (tmp_path / "site2" / "secret.txt").write_text("SECRET")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "inside").symlink_to(root / "files" / "a & b.txt")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def get(site: Path) -> Get:
    app = validator(Folder(site))

    def fetch(path: str, method: str = "GET", **environ: Any) -> tuple[int, dict[str, str], bytes]:
        answer: list[Any] = []
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": "",
            "SERVER_NAME": "shop",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **environ,
        }

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            answer[:] = [int(status[:3]), dict(headers)]
            return answer.append

        body = app(environ, start)
        try:
            data = b"".join(body)
        finally:
            body.close()  # type: ignore[attr-defined]
        return answer[0], answer[1], data

    return fetch


def test_a_file(get: Get, site: Path) -> None:
    status, headers, body = get("/files/a & b.txt")
    assert (status, body) == (200, b"both")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == "4"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert get("/files/ü.txt")[2] == b"umlaut"
    assert get("/inside")[2] == b"both"
    assert get("/a.tar.gz")[1]["Content-Type"] == "application/octet-stream"


def test_head_has_no_body(get: Get) -> None:
    assert get("/files/a & b.txt", "HEAD")[0::2] == (200, b"")
    assert get("/", "HEAD")[0::2] == (200, b"")


def test_only_reading(get: Get) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = get("/files/a & b.txt", method)
        assert status == 405
        assert headers["Allow"] == "GET, HEAD"


def test_a_folder_is_its_index_or_a_list(get: Get) -> None:
    assert get("/docs/")[2] == b"<h1>docs</h1>"
    status, headers, body = get("/files/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'<a href="./a%20%26%20b.txt">a &amp; b.txt</a>' in body
    assert "ü.txt" in body.decode()


def test_the_list_names_only_what_is_served(get: Get) -> None:
    listed = get("/")[2].decode()
    assert "docs/" in listed
    assert "inside" in listed
    for hidden in (".env", ".git", "out", "up", "pipe"):
        assert f">{hidden}" not in listed


@pytest.mark.parametrize(("path", "to"), [("/docs", "/docs/"), ("//docs", "/docs/"), ("//files", "/files/")])
def test_a_folder_without_its_slash(path: str, to: str, get: Get) -> None:
    status, headers, _ = get(path)
    assert status == 301
    assert headers["Location"] == to


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/files/a & b.txt/",
        "/../secret.txt",
        "/files/../../secret.txt",
        "/..",
        "/../site2/secret.txt",
        "/out",
        "/up/secret.txt",
        "/up/",
        "/.env",
        "/.git/config",
        "/.git/",
        "/docs/./index.html",
        "/pipe",
        "/a\0b",
        "/" + "a" * 5000,
        "/\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
    ],
)
def test_what_is_not_served(path: str, get: Get) -> None:
    status, _, body = get(path)
    assert status == 404
    assert b"SECRET" not in body


def test_an_absolute_path_is_one_below_the_root(get: Get, site: Path) -> None:
    assert get("/" + str(site / "docs" / "index.html"))[0] == 404


def test_what_has_not_changed_is_not_sent_again(get: Get, site: Path) -> None:
    path = site / "docs" / "index.html"
    changed = int(path.stat().st_mtime)
    for since, expected in (
        (formatdate(changed, usegmt=True), 304),
        (formatdate(changed + 60, usegmt=True), 304),
        (formatdate(changed - 60, usegmt=True), 200),
        ("yesterday", 200),
    ):
        assert get("/docs/", HTTP_IF_MODIFIED_SINCE=since)[0] == expected


def test_a_file_that_may_not_be_read(get: Get, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr("builtins.open", refuse)
    assert get("/docs/index.html")[0] == 404
