from __future__ import annotations

import pytest

from tsnet.base.proxies import (
    FORM,
    NO_PROXIES,
    Proxies,
    Proxy,
    asked_for,
    is_final_answer,
    of_environment,
    parse_proxy,
    proxy_reason,
    split_proxy_reason,
)

SECURE, PLAIN = "http://secure:1", "http://plain:2"
BOTH = {"HTTPS_PROXY": SECURE, "HTTP_PROXY": PLAIN}


def through(environ: dict[str, str], host: str, port: int = 443, *, secure: bool = True) -> str:
    """The proxy that is asked for a host; "" if none."""
    proxy = of_environment(environ).proxy_for(host, port, secure=secure)
    return "" if proxy is None else proxy.name


# --- one proxy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy:3128", Proxy("proxy", 3128)),
        ("http://proxy", Proxy("proxy", 80)),
        ("http://[::1]:3128/", Proxy("::1", 3128)),
        ("http://user:p%40ss@proxy:3128", Proxy("proxy", 3128, "Basic dXNlcjpwQHNz")),
        ("http://user@proxy:3128", Proxy("proxy", 3128, "Basic dXNlcjo=")),
    ],
)
def test_parse(url: str, proxy: Proxy) -> None:
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy:3128",
        "https://proxy",
        "socks5://proxy",
        "http://",
        "http://proxy:99999",
        "http://proxy:x",
        "http://[",
    ],
)
def test_what_is_no_http_proxy_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="must be http://"):
        parse_proxy(url)


def test_secrets_stay_out_of_texts() -> None:
    assert "dXNlc" not in repr(parse_proxy("http://user:secret@proxy:3128"))
    with pytest.raises(ValueError) as refused:
        parse_proxy("https://user:secret@proxy:3128")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("host", "name"), [("proxy", "http://proxy:3128"), ("::1", "http://[::1]:3128")])
def test_its_name_holds_no_password(host: str, name: str) -> None:
    assert Proxy(host, 3128, "Basic eA==").name == name


# --- which one --------------------------------------------------------------------------------------------------


def test_an_option_is_for_everything_and_an_empty_one_for_nothing() -> None:
    for host, secure in (("127.0.0.1", True), ("control.test", False), ("localhost", True)):
        proxy = asked_for("http://u:p@proxy:3128").proxy_for(host, 443, secure=secure)
        assert proxy is not None
        assert proxy.name == "http://proxy:3128"
        assert proxy.authorization
    assert asked_for("") == NO_PROXIES == Proxies()
    with pytest.raises(ValueError, match="must be http://"):
        asked_for("socks5://proxy")


def test_tls_has_its_own_variable() -> None:
    assert through(BOTH, "control.test") == SECURE
    assert through(BOTH, "control.test", secure=False) == PLAIN
    assert through({"HTTPS_PROXY": SECURE}, "control.test", secure=False) == ""
    assert through({"HTTP_PROXY": PLAIN}, "control.test") == ""
    assert through({}, "control.test") == ""


def test_capitals_come_first_and_an_empty_one_is_none() -> None:
    assert through({"HTTPS_PROXY": "", "https_proxy": SECURE}, "a") == SECURE
    assert through({"HTTPS_PROXY": SECURE, "https_proxy": PLAIN}, "a") == SECURE
    assert through({"https_proxy": SECURE, "no_proxy": "a"}, "a") == ""
    assert through({"all_proxy": SECURE, "ALL_PROXY": SECURE}, "a") == ""  # as in Go


def test_a_host_and_a_port_are_enough() -> None:
    assert through({"HTTPS_PROXY": "proxy:3128"}, "a") == "http://proxy:3128"
    assert through({"HTTPS_PROXY": "u:p@proxy:3128"}, "a") == "http://proxy:3128"


def test_a_client_of_a_cgi_script_cannot_set_one() -> None:
    assert through({**BOTH, "REQUEST_METHOD": "GET"}, "a", secure=False) == ""
    assert through({**BOTH, "REQUEST_METHOD": "GET"}, "a") == SECURE


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_is_never_asked_of_a_proxy_of_the_environment(host: str) -> None:
    assert through(BOTH, host) == through(BOTH, host, secure=False) == ""


@pytest.mark.parametrize(
    ("exempt", "host", "port", "is_direct"),
    [  # as Go's httpproxy decides
        ("foo.com", "foo.com", 443, True),
        ("foo.com", "FOO.com", 443, True),
        ("foo.com", "bar.foo.com", 443, True),
        ("foo.com", "xfoo.com", 443, False),
        ("foo.com", "foo.com.evil", 443, False),
        (".foo.com", "bar.foo.com", 443, True),
        (".foo.com", "foo.com", 443, False),
        ("*.foo.com", "bar.foo.com", 443, True),
        ("*.foo.com", "foo.com", 443, False),
        ("foo.com:443", "foo.com", 443, True),
        ("foo.com:443", "foo.com", 8443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("10.1.2.3:443", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "ten.test", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("fd00::1", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("[fd00::1]:80", "fd00::1", 443, False),
        ("*", "foo.com", 443, True),
        (" a , foo.com ,, b ", "foo.com", 443, True),
        (":443", "foo.com", 443, False),
        (".", "foo.com", 443, False),
        ("", "foo.com", 443, False),
        ("com", "foo.com", 443, True),
        ("foo.com:x", "foo.com", 443, False),
    ],
)
def test_exemptions(exempt: str, host: str, port: int, is_direct: bool) -> None:
    assert through({**BOTH, "NO_PROXY": exempt}, host, port) == ("" if is_direct else SECURE)


@pytest.mark.parametrize("url", ["socks5://u:hunter2@proxy:1", "https://u:hunter2@proxy", "http://proxy:x", "http://"])
def test_one_that_we_cannot_ask_is_not_gone_around(url: str) -> None:
    proxy = of_environment({"HTTPS_PROXY": url}).https
    assert proxy is not None
    assert (proxy.is_usable, proxy.name) == (False, "HTTPS_PROXY")
    assert "hunter2" not in repr(proxy)


# --- why it did not go through ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["refused", "407 Proxy Authentication Required", "502: bad", FORM])
def test_a_reason_names_the_proxy(reason: str) -> None:
    proxy = Proxy("::1", 3128, "Basic eA==")
    assert split_proxy_reason(proxy_reason(proxy, reason)) == ("http://[::1]:3128", reason)
    assert split_proxy_reason(reason) == ("", reason)


@pytest.mark.parametrize(
    ("detail", "is_final"),
    [
        ("407 x", True),
        ("403 Forbidden", True),
        ("429 x", False),
        ("408 x", False),
        ("502 x", False),
        ("refused", False),
    ],
)
def test_answers_that_waiting_cannot_change(detail: str, is_final: bool) -> None:
    assert is_final_answer(detail) is is_final
