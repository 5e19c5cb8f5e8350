from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from tests.authority import authority
from tsnet.base.credentials import ClientSecret, FederatedIdentity
from tsnet.cli.command import main, parse
from tsnet.cli.joining import auth_key, forward_name, joined, server, trusting
from tsnet.edge.io.tls import default_context, has_roots
from tsnet.errors import AuthKeyRejected, ConfigError, StateLocked
from tsnet.testing.tailnet import Tailnet


def options(*arguments: str):  # type: ignore[no-untyped-def]
    return parse(["status", *arguments])


def test_a_key_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    path.write_text("tskey-auth-1\n")
    assert auth_key(f"file:{path}") == "tskey-auth-1"
    assert capsys.readouterr().err == ""


def test_a_key_from_stdin_leaves_the_rest() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"tskey-auth-2\nthe rest")
    os.close(writer)
    before = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert auth_key("-") == "tskey-auth-2"
        assert os.read(0, 100) == b"the rest"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reader)


def test_a_literal_key_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert auth_key("tskey-auth-3") == "tskey-auth-3"
    said = capsys.readouterr().err
    assert "can see an auth key on the command line" in said
    assert "tskey-auth-3" not in said
    assert auth_key(None) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\xff\xfe"])
def test_a_file_without_a_key(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="key"):
        auth_key(f"file:{path}")


def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A secret and an ID token come from a file; the token's is read anew each time."""
    monkeypatch.delenv("TS_AUTHKEY", raising=False)
    secret, token = tmp_path / "secret", tmp_path / "token"
    secret.write_text("tskey-client-a-b\n")
    token.write_text("one\n")
    node = server(options("--client-secret", f"file:{secret}", "--tag", "tag:ci"))
    assert isinstance(node._config.credential, ClientSecret)
    node = server(options("--client-id", "T1", "--id-token", f"file:{token}", "--tag", "tag:ci"))
    assert isinstance(found := node._config.credential, FederatedIdentity)
    assert found.obtain() == "one"
    token.write_text("two")
    assert found.obtain() == "two"
    assert capsys.readouterr().err == ""
    server(options("--client-id", "T1", "--id-token", "a.b.c", "--tag", "tag:ci"))
    said = capsys.readouterr().err
    assert "can see an ID token on the command line; use --id-token file:PATH" in said
    assert "a.b.c" not in said
    with pytest.raises(ConfigError, match="client secret"):
        server(options("--client-secret", f"file:{tmp_path}/none"))
    server(options("--client-id", "T1", "--audience", "us", "--tag", "tag:ci"))


@pytest.mark.parametrize(("arguments", "up"), [(("--shields-up",), True), ((), False)])
def test_shields(arguments: tuple[str, ...], up: bool) -> None:
    node = server(options("--control-url", "https://control.test", *arguments), passing=True)
    assert node.prefs.shields_up is up


def test_who_serves_raises_no_shields() -> None:
    with pytest.raises(SystemExit):
        parse(["serve", "./public", "--shields-up"])
    assert not server(parse(["serve", "./public", "--control-url", "https://control.test"])).prefs.shields_up


def test_authorities_of_a_file(tmp_path: Path) -> None:
    assert trusting(None) is None
    file = tmp_path / "ca.pem"
    file.write_bytes(authority().pem)
    context = trusting(str(file))
    assert context is not None
    assert authority().der in context.get_ca_certs(binary_form=True)
    assert context.cert_store_stats()["x509_ca"] > 1 or not has_roots(default_context())  # the system's, too
    file.write_bytes(b"no certificate")
    with pytest.raises(ConfigError, match=r"--ca-file .*: it holds no PEM certificate"):
        trusting(str(file))
    with pytest.raises(ConfigError, match="--ca-file /no/such: No such file"):
        trusting("/no/such")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no auth key can be read from /no/such: No such file"):
        auth_key("file:/no/such")


def test_a_passing_node_leaves_no_trace(on_tailnet: Tailnet) -> None:
    with joined(options("--hostname", "brief"), passing=True):
        assert "brief" in on_tailnet.nodes()
    assert "brief" not in on_tailnet.nodes()
    assert not any(Path(os.environ["HOME"]).iterdir())


def test_the_options_say_where_the_identity_rests(on_tailnet: Tailnet, tmp_path: Path) -> None:
    place = tmp_path / "state"
    with joined(options("--state-dir", str(place)), name="Web.App", passing=True) as node:
        assert node.name == "web-app"
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        first = node.addresses
        with pytest.raises(StateLocked), joined(options("--state-dir", str(place))):
            pass
    with joined(options("--state-dir", str(place)), name="web-app") as node:
        assert node.addresses == first


def test_the_environment_names_the_node_before_its_target_does(
    on_tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_HOSTNAME", "from-environment")
    with joined(options("--ephemeral"), name="target") as node:
        assert node.name == "from-environment"
    with joined(options("--ephemeral", "--hostname", "said"), name="target") as node:
        assert node.name == "said"


def test_what_goes_wrong_while_joining_leaves_nothing(on_tailnet: Tailnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TS_AUTHKEY", "tskey-auth-wrong")
    with pytest.raises(AuthKeyRejected), joined(options("--ephemeral")):
        pass


def test_names_of_forwards() -> None:
    assert forward_name("db", 5432) == "TSNET_FORWARD_DB_5432"
    assert forward_name("my-db.tailnet.test", 80) == "TSNET_FORWARD_MY_DB_TAILNET_TEST_80"
    assert forward_name("fd7a::1", 80) == "TSNET_FORWARD_FD7A_1_80"


AN_OPTION_OF_PYTHON = re.compile(r"(?<![\w?&-])[a-z]+(_[a-z]+)*=|\bstatus\(\)")


@pytest.mark.parametrize(
    ("arguments", "key", "code", "words"),
    [
        ([], "", "needs-login", ["--auth-key"]),
        ([], "tskey-auth-wrong", "auth-key-rejected", ["--auth-key"]),
        (["--tag", "tag:web"], None, "auth-key-rejected", ["--tag"]),
        (["--control-url", "http://127.0.0.1:1", "--timeout", "0.1"], None, "control-unreachable", ["--control-url"]),
        (["--timeout", "0"], None, "up-timeout", ["--timeout"]),
        (["--state-dir", "/dev/null/x"], None, "state", ["--state-dir"]),
        (["--control-key", "x"], None, "config", ["--control-key"]),
        (["--control-key", "mkey:" + "5a" * 32], None, "not-a-control-server", ["--control-key"]),
        (["--control-url", "http://headscale.example"], None, "config", ["--control-key", "--allow-http"]),
        (["--control-url", "ftp://x"], None, "config", ["--control-url"]),
        (["--proxy", "socks5://x"], None, "config", ["--proxy"]),
        (["--tag", "web"], None, "config", ["tag:name"]),
        (["--timeout", "-1"], None, "config", ["--timeout"]),
    ],
)
def test_why_a_command_cannot_join_is_said_once_and_in_its_words(
    arguments: list[str],
    key: str | None,
    code: str,
    words: list[str],
    on_tailnet: Tailnet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if key is not None:
        monkeypatch.setenv("TS_AUTHKEY", key)
    assert main(["status", *arguments]) in (1, 2)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[-1].endswith(f" [{code}]")
    assert len(lines) == (2 if lines[-1] == f"tsnet status: gave up waiting [{code}]" else 1)
    assert [word for word in words if word not in err] == []
    assert AN_OPTION_OF_PYTHON.findall(err) == []
