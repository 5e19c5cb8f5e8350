from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tests.cli.conftest import ROOT
from tsnet.cli import main


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says what it was asked."""
    path = environ["PATH_INFO"]
    if path == "/missing":
        start_response("404 Not Found", [])
        return [b"no such thing"]
    if path == "/elsewhere":
        start_response("302 Found", [("Location", "/here")])
        return [b"over there"]
    if path == "/bytes":
        start_response("200 OK", [])
        return [bytes(range(256)) * 1000]
    asked = {key: environ.get(key, "") for key in ("REQUEST_METHOD", "PATH_INFO", "HTTP_X_COLOUR", "HTTP_HOST")}
    asked["body"] = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    start_response("200 OK", [])
    return [json.dumps(asked).encode()]


@pytest.fixture
def app(shop: tsnet.Server) -> None:
    shop.serve_wsgi(echo, block=False)


@pytest.mark.usefixtures("app")
class TestCurl:
    def test_the_body_alone(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        assert main(["curl", "http://shop/bytes"]) == 0
        out, err = capfdbinary.readouterr()
        assert out == bytes(range(256)) * 1000
        assert b"joined as" in err

    def test_a_bare_host_will_do(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["curl", "shop"]) == 0
        asked = json.loads(capfd.readouterr().out)
        assert asked == {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "HTTP_X_COLOUR": "",
            "HTTP_HOST": "shop",
            "body": "",
        }

    def test_method_header_and_body(self, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "data").write_text("from a file")
        assert main(["curl", "shop/x", "-d", f"@{tmp_path / 'data'}", "-H", "X-Colour: red", "-X", "PUT"]) == 0
        asked = json.loads(capfd.readouterr().out)
        assert (asked["REQUEST_METHOD"], asked["body"], asked["HTTP_X_COLOUR"]) == ("PUT", "from a file", "red")
        assert main(["curl", "shop/x", "-d", "a=1", "-H", "host: other"]) == 0
        asked = json.loads(capfd.readouterr().out)
        assert (asked["REQUEST_METHOD"], asked["body"], asked["HTTP_HOST"]) == ("POST", "a=1", "other")

    def test_an_http_error_is_none_of_ours_but_an_error(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["curl", "shop/missing"]) == 22
        out, err = capfd.readouterr()
        assert out == "no such thing"
        assert err.splitlines()[-1] == "tsnet curl: http://shop/missing answered 404 Not Found"

    def test_redirects_are_followed_on_demand(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["curl", "shop/elsewhere"]) == 0
        assert capfd.readouterr().out == "over there"
        assert main(["curl", "-L", "shop/elsewhere"]) == 0
        assert json.loads(capfd.readouterr().out)["PATH_INFO"] == "/here"

    def test_a_service_that_is_not_there(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["curl", "nobody"]) == 1
        assert main(["curl", "shop:81"]) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert "[not-on-tailnet]" in err
        assert err.splitlines()[-1].startswith("tsnet curl: shop:81 refused the connection")
        assert err.splitlines()[-1].endswith("[dial-refused]")

    def test_a_service_that_speaks_no_http(self, shop: tsnet.Server, capfd: pytest.CaptureFixture[str]) -> None:
        with shop.listen(22) as listener:

            def greet() -> None:
                with listener.accept()[0] as sock:
                    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                    sock.recv(65_536)

            thread = threading.Thread(target=greet)
            thread.start()
            assert main(["curl", "shop:22"]) == 1
            thread.join(10)
        assert capfd.readouterr().err.splitlines()[-1].endswith("[RemoteProtocolError]")


@pytest.mark.parametrize(
    "arguments", [["ftp://shop/"], ["http:///x"], ["http://shop:x/"], ["shop", "-H", "no colon"], ["shop", "-H", ": x"]]
)
def test_what_makes_no_sense_joins_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curl", *arguments]) == 2
    assert "joined" not in capsys.readouterr().err


PLACE = re.compile(r"(?:tsnet curl:)? +[\d.]+ (\w+) +laptop: ([^:]+)")
STORY = (
    "node begun",
    "control connecting",
    "control server key",
    "control registering",
    "control registered",
    "node first netmap",
    "node running",
    "derp dialling",
    "derp link opened",
    "netcheck home chosen",
    "derp connected",
)
CONTACT = (
    "node first netmap",
    "node connecting",
    "wireguard handshake sent",
    "disco path chosen",
    "wireguard session made",
    "node connection open",
    "node closing",
    "control control is left alone",
)
"""Neither waits for `REACHABLE`: where control is slow, the command may have ended before."""
REACHABLE = "node reachable"


def steps(text: str) -> list[str]:
    """What the node `laptop` has told, as "room event"."""
    return [" ".join(found.groups()) for line in text.splitlines() if (found := PLACE.match(line))]


def is_in_order(wanted: Iterable[str], told: list[str]) -> bool:
    rest = iter(told)
    return all(step in rest for step in wanted)


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("arguments", [["--verbose", "curl"], ["curl", "-v"]])
def test_verbose_tells_the_story_of_a_first_contact(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "http://shop/", "--hostname", "laptop"]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if " shop: " not in line]  # which is in this process
    told = steps("\n".join(lines))
    assert is_in_order(STORY, told), told
    assert is_in_order(CONTACT, told), told
    assert len(set(told)) < 40  # what is told again where something takes longer is one
    assert max(map(len, lines)) <= 160


def test_the_story_in_the_documents_is_told_by_the_same_steps() -> None:
    text = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")
    told = steps(text)
    assert len(told) > 25
    assert is_in_order((*STORY, REACHABLE), told)
    assert is_in_order(CONTACT, told)


@pytest.mark.usefixtures("app")
def test_without_verbose_nothing_of_it_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["curl", "http://shop/", "--hostname", "laptop"]) == 0
    assert len(capfd.readouterr().err.splitlines()) == 1
