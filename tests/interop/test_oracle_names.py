"""Host names and proxy variables against Go's dnsname and httpproxy."""

from __future__ import annotations

from random import Random
from urllib.parse import urlsplit

import pytest

from tests.interop.harness.oracle import Oracle, case, cases
from tsnet.base.hostnames import sanitize_hostname
from tsnet.base.proxies import of_environment

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

LETTERS = "abzABZ019---__..@ /+'’äé"
SUFFIXES = ("", "", "", ".local", ".lan", ".localdomain", ".local.lan")
HOSTS = (
    "foo.com bar.foo.com xfoo.com FOO.com com localhost a.localhost 127.0.0.1 127.9.9.9 10.1.2.3 10.2.0.1 100.64.0.1 "
    "[::1] [fd00::1] [fd00:1::2]"
).split()
EXEMPTIONS = (
    "foo.com .foo.com *.foo.com *foo.com foo.com. ..foo.com FOO.COM foo.com:443 foo.com:8443 com localhost x:y :443 . "
    "*. 10.0.0.0/8 10.0.0.0/8:443 10.1.2.3 10.1.2.3:443 10.1.2.3:80 10.1.2 ::1 fd00::/16 fd00::1 [fd00::1] "
    "[fd00::1]:443 [::1"
).split()


def test_host_names(oracle: Oracle) -> None:
    for seed in cases():
        with case("host names", seed) as random:
            name = "".join(random.choices(LETTERS, k=random.choice((3, 8, 20, 62, 63, 64, 90)))) + random.choice(
                SUFFIXES
            )
            assert sanitize_hostname(name) == oracle.call("hostname", name=name), name


def variables(random: Random) -> dict[str, str]:
    exempt = random.choices(EXEMPTIONS, k=random.randint(0, 3)) + random.choices(("", "*"), (50, 1))
    return {
        "HTTP_PROXY": random.choice(("", "http://plain:2", "plain:2")),
        "HTTPS_PROXY": random.choice(("", "http://secure:1", "user:password@secure:1")),
        "NO_PROXY": ",".join(exempt),
        "REQUEST_METHOD": random.choice(("", "", "GET")),
    }


def test_proxies_of_the_environment(oracle: Oracle) -> None:
    for seed in cases():
        with case("proxies", seed) as random:
            environ = variables(random)
            url = urlsplit(
                f"{random.choice(('http', 'https'))}://{random.choice(HOSTS)}{random.choice(('', ':443', ':80'))}"
            )
            secure = url.scheme == "https"
            port = url.port or (443 if secure else 80)
            ours = of_environment(environ).proxy_for(url.hostname or "", port, secure=secure)
            theirs = oracle.call(
                "proxy",
                http=environ["HTTP_PROXY"],
                https=environ["HTTPS_PROXY"],
                script=bool(environ["REQUEST_METHOD"]),
                url=url.geturl(),
                **{"except": environ["NO_PROXY"]},
            )
            assert ("" if ours is None else f"{ours.host}:{ours.port}") == theirs, (environ, url.geturl())
