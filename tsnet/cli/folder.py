"""A folder as a WSGI app: files, index.html, else a list. Reads only, and nothing outside.

    GET /a/b.txt ─> no "..", no hidden name ─> the real path, symbolic links resolved, still inside ─> a regular file

What is not served is 404, whatever the reason. Hidden files stay hidden: a folder often holds .git and .env.

Source: RFC 9110 (conditional requests by date).
Not here: ranges, uploads.
"""

from __future__ import annotations

import html
import mimetypes
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate, parsedate_to_datetime
from typing import IO, Any
from urllib.parse import quote

CHUNK = 64 * 1024
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Folder:
    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root: str = os.path.realpath(root)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, headers, body = self._answer(environ)
        if environ["REQUEST_METHOD"] == "HEAD":
            if not isinstance(body, list):
                body.close()
            body = []
        start_response(status, [*headers, ("X-Content-Type-Options", "nosniff")])
        if isinstance(body, list):
            return body
        wrap = environ.get("wsgi.file_wrapper", _Chunks)
        wrapped: Iterable[bytes] = wrap(body, CHUNK)
        return wrapped

    def _answer(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], list[bytes] | IO[bytes]]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text("405 Method Not Allowed", [("Allow", "GET, HEAD")])
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "surrogateescape")
        found = self.find(path)
        if found is None:
            return _text("404 Not Found")
        if not os.path.isdir(found):
            return _file(found, environ.get("HTTP_IF_MODIFIED_SINCE", ""))
        if not path.endswith("/"):
            prefix = environ.get("SCRIPT_NAME", "")
            return _text("301 Moved Permanently", [("Location", prefix + "/" + _quoted(path.strip("/")) + "/")])
        index = self.find(f"{path}index.html")
        return _file(index, environ.get("HTTP_IF_MODIFIED_SINCE", "")) if index else self._list(path, found)

    def find(self, path: str) -> str | None:
        """The real path of a file or folder that may be served."""
        names = [name for name in path.split("/") if name]
        if "\0" in path or any(name.startswith(".") or os.sep in name or (os.altsep or "/") in name for name in names):
            return None
        real = os.path.realpath(os.path.join(self.root, *names))
        if os.path.commonpath([real, self.root]) != self.root:
            return None  # a symbolic link that leads out
        try:
            mode = os.stat(real).st_mode
        except OSError:
            return None
        if path.endswith("/") and not stat.S_ISDIR(mode):
            return None
        return real if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else None

    def _list(self, path: str, folder: str) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        names = []
        for name in sorted(os.listdir(folder)):
            found = self.find(f"{path}{name}")
            if found is not None:
                names.append(f"{name}/" if os.path.isdir(found) else name)
        title = html.escape(_shown(path))
        items = "".join(f'<li><a href="./{_quoted(name)}">{html.escape(_shown(name))}</a>\n' for name in names)
        page = f"<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n"
        return _text("200 OK", [], page, "text/html; charset=utf-8")


def _file(path: str, if_modified_since: str) -> tuple[str, list[tuple[str, str]], list[bytes] | IO[bytes]]:
    try:
        file = open(path, "rb")  # noqa: SIM115  # the server closes it, with the response
    except OSError:
        return _text("404 Not Found")
    facts = os.fstat(file.fileno())
    changed = [("Last-Modified", formatdate(int(facts.st_mtime), usegmt=True))]
    if _is_fresh(if_modified_since, facts.st_mtime):
        file.close()
        return "304 Not Modified", changed, []
    kind, encoding = mimetypes.guess_type(path)
    if encoding:
        kind = "application/octet-stream"  # a .tar.gz stays what it is
    elif kind and kind.startswith("text/"):
        kind += "; charset=utf-8"
    headers = [("Content-Type", kind or "application/octet-stream"), ("Content-Length", str(facts.st_size)), *changed]
    return "200 OK", headers, file


def _is_fresh(if_modified_since: str, changed: float) -> bool:
    try:
        return int(changed) <= parsedate_to_datetime(if_modified_since).timestamp()
    except (ValueError, TypeError, OverflowError):
        return False


def _text(
    status: str, headers: list[tuple[str, str]] | None = None, text: str = "", kind: str = "text/plain; charset=utf-8"
) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    body = (text or f"{status}\n").encode()
    return status, [*(headers or []), ("Content-Type", kind), ("Content-Length", str(len(body)))], [body]


def _quoted(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"))


def _shown(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Chunks:
    """PEP 3333's file wrapper, for a server that has none."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(self._size), b"")

    def close(self) -> None:
        self._file.close()
