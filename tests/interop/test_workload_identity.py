"""Joining by a client secret and by an ID token: Go's tsnet and ours on the embedded tailnet, by the same credentials.

Go's `wif` and ours also make the same requests of a GitHub runner and of Google Cloud's metadata server, which a double
plays: as the proxy of the environment it is asked for hosts that only a cloud has.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tsnet
from tests.interop.harness.control import ControlAt
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.lines import PeerError
from tests.interop.harness.ours import until
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import BIN, need
from tests.interop.harness.scene import Scene
from tests.issuer import AUDIENCE, ISSUER, claims, jwks, signed
from tests.webdouble import WebAnswer, WebDouble, WebRequest, web_double
from tsnet.testing.tailnet import Tailnet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
ROOT = Path(__file__).parent.parent.parent
TAGS = ["tag:ci"]
TELLING = ("Authorization", "Accept", "Metadata-Flavor", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds")


class Credentials:
    """One tailnet, and the options by which Go and we join it."""

    def __init__(self, tailnet: Tailnet) -> None:
        self.tailnet = tailnet
        self.client = tailnet.oauth_client(tags=TAGS)
        self.issuer = tailnet.trust_issuer(ISSUER, audience=AUDIENCE, jwks=jwks(), tags=TAGS)

    def of(self, kind: str, **others: Any) -> dict[str, str]:
        """By Python's names."""
        if kind == "secret":
            return {"client_secret": self.client.secret}
        return {"client_id": self.issuer.id, "id_token": signed(claims(time.time(), **others), others.get("alg", kind))}

    def go(self, scene: Scene, name: str, options: Mapping[str, str], **more: Any) -> GoPeer:
        dashed = {option.replace("_", "-"): value for option, value in options.items()}
        return GoPeer(scene, ControlAt(self.tailnet.control_url), name, credential=dashed, **{"tags": TAGS, **more})


@pytest.fixture
def credentials(scene: Scene) -> Iterator[Credentials]:
    need("tsnetpeer")
    with Tailnet() as tailnet:
        yield Credentials(tailnet)


@pytest.mark.parametrize("kind", ["secret", "RS256", "ES256"])
def test_go_and_ours_join_and_reach_each_other(scene: Scene, credentials: Credentials, kind: str) -> None:
    tailnet = credentials.tailnet
    options: dict[str, Any] = credentials.of(kind)
    with credentials.go(scene, "go", options) as go:
        go.up()
        with tsnet.Server("ours", control_url=tailnet.control_url, tags=TAGS, ephemeral=True, **options) as node:
            for name in ("go", "ours"):
                found = tailnet.node(name)
                assert (found.tags, found.user, found.is_ephemeral) == (("tag:ci",), "tagged-devices", True)
            until(lambda: "go" in str(node.status()), 5)
            assert node.ping("go", kind="tsmp", timeout=10).seconds > 0


def test_go_is_refused_for_what_ours_is(scene: Scene, credentials: Credentials) -> None:
    for name, options, tags, words in (
        ("audience", credentials.of("RS256", aud="another"), TAGS, "wrong audience"),
        ("late", credentials.of("RS256", exp=time.time() - 600), TAGS, "it has expired"),
        ("tags", credentials.of("secret"), ["tag:db"], "tag:db"),
        ("secret", {"client_secret": credentials.client.secret.replace("-k", "-l", 1)}, TAGS, "API token invalid"),
    ):
        with credentials.go(scene, name, options, tags=tags) as go, pytest.raises(PeerError, match=words):
            go.up(timeout=5)
        node = tsnet.Server(
            name,
            control_url=credentials.tailnet.control_url,
            tags=tags,
            ephemeral=True,
            **options,  # type: ignore[arg-type]
        )
        with pytest.raises(tsnet.CredentialRejected, match=words):
            node.up(timeout=5)
        node.close()
    assert credentials.tailnet.nodes() == {}


# --- where ID tokens come from ----------------------------------------------------------------------------------

PROGRAM = """
import os, sys
from tsnet.edge.io.workload import Workload
print(Workload(os.environ).id_token(sys.argv[1]))
"""
Asked = list[tuple[str, str, dict[str, str]]]


@pytest.fixture
def double(scene: Scene) -> Iterator[WebDouble]:
    """A runner and metadata server."""
    with web_double(provider) as found:
        yield found


def provider(request: WebRequest) -> WebAnswer:
    body = b'{"value": "git.hub.token"}' if request.path.startswith("/runner") else b"goo.gle.token\n"
    return WebAnswer(body, 404 if "169.254.169.254" in request.path else 200, {"Metadata-Flavor": "Google"})


def told(double: WebDouble) -> Asked:
    """What it was asked: method, URL, the headers that tell something."""
    return [
        (one.method, one.path, {name: one.headers[name] for name in TELLING if name in one.headers})
        for one in double.asked
    ]


def ended(process: Process) -> bool:
    return not process.alive


@pytest.mark.parametrize("where", ["github", "google"])
def test_the_same_requests_of_a_provider(scene: Scene, double: WebDouble, where: str) -> None:
    need("wifpeer")
    url = double.url
    environment = {"HTTP_PROXY": url, "NO_PROXY": "", "PYTHONPATH": str(ROOT)}
    if where == "github":
        environment["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{url}/runner?b=2&a=1%2F2#top"
        environment["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "runner-token"
    found: list[tuple[str, Asked]] = []
    for name, command in (("go-wif", [BIN / "wifpeer"]), ("our-wif", [sys.executable, "-c", PROGRAM])):
        double.asked.clear()
        process = scene.run(name, [*command, " https://us & co/ü "], environment={**os.environ, **environment})
        until(functools.partial(ended, process), 30)
        found.append(((scene.folder / f"{name}.log").read_text().strip(), told(double)))
    assert found[0] == found[1]
    assert found[1][0] == ("git.hub.token" if where == "github" else "goo.gle.token")
    assert len(found[1][1]) == (1 if where == "github" else 3)
