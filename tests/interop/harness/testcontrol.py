"""Tailscale's own control server for tests, and `derper` beside it: a tailnet in which Go joins in 40 ms.

    with Derper(scene) as derper, TestControl(scene, derper) as control:
        with GoPeer(scene, control, "a", auth_key="any") as a: …

Source: Go tstest/integration/testcontrol, cmd/derper.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.harness.certificates import PrivateCA
from tests.interop.harness.lines import Lines
from tests.interop.harness.process import Process, can_connect
from tests.interop.harness.requirements import BIN
from tests.interop.harness.scene import Scene

DERP_REGION = 900
LOOPBACK = "127.0.0.1"


Tls = Literal["", "ca", "name", "pin", "insecure"]


class Derper:
    """DERP, STUN beside it. `stop` and `start` restart it under the same key.

    tls: nothing is plain HTTP; else how clients are to judge its certificate: by a private CA (`ca`) and its address,
    by the CA and a CertName that is not the host's, by its own hash (a self-signed one that derper makes), not at all.
    namespace: where it runs; it must be reached at `host` from the thread that starts it. stun: False if somebody else
    answers STUN there.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        host: str = LOOPBACK,
        v6: str = "",
        port: int = 3340,
        stun_port: int = 3478,
        region: int = DERP_REGION,
        tls: Tls = "",
        namespace: str = "",
        stun: bool = True,
    ) -> None:
        self.scene, self.host, self.v6, self.tls, self.namespace = scene, host, v6, tls, namespace
        self.port, self.stun_port, self.region, self.stun = port, stun_port, region, stun
        self.process: Process | None = None
        self.ca: PrivateCA | None = None
        self._folder = scene.folder / f"derper-{region}"
        self._folder.mkdir()
        if tls in ("ca", "name"):
            self.ca = PrivateCA(self._folder)
            self.ca.leaf(LOOPBACK, "relay.example")

    @property
    def region_json(self) -> dict[str, object]:
        node = {
            "Name": f"{self.region}a",
            "RegionID": self.region,
            "HostName": "front.example" if self.tls == "name" else self.host,
            "CertName": {"name": "relay.example", "pin": self._pin}.get(self.tls, ""),
            "IPv4": self.host,
            "IPv6": self.v6 or "none",
            "DERPPort": self.port,
            "STUNPort": self.stun_port,
            "InsecureForTests": self.tls in ("", "insecure"),
        }
        name = f"lab{self.region}"
        return {"RegionID": self.region, "RegionCode": name, "RegionName": name, "Nodes": [node]}

    @property
    def _pin(self) -> str:
        """The certificate that derper signed itself, once it runs."""
        path = self._folder / f"{LOOPBACK}.crt"
        if not path.exists():
            return ""
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return f"sha256-raw:{sha256(certificate.public_bytes(Encoding.DER)).hexdigest()}"

    def start(self) -> None:
        command: list[str | Path] = [BIN / "derper", "-stun-port", str(self.stun_port)]
        command += ["-c", self._folder / "config", "-a", f":{self.port}", f"-stun={str(self.stun).lower()}"]
        if self.tls:  # for an address derper takes any server name, and signs itself what the folder lacks
            command += ["-certmode", "manual", "-certdir", self._folder, "-hostname", LOOPBACK, "-http-port", "-1"]
        else:
            command += ["-dev"]
        self.process = self.scene.run(self._folder.name, command, namespace=self.namespace)
        self.process.wait_until(lambda: can_connect(self.host, self.port), "listening")

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class TestControl:
    """Any auth key is good, unless `require_auth_key` names the only one; `require_auth` asks for an auth URL."""

    __test__ = False  # not for pytest to collect

    def __init__(
        self,
        scene: Scene,
        *derpers: Derper,
        host: str = LOOPBACK,
        port: int = 8081,
        require_auth_key: str = "",
        require_auth: bool = False,
        same_user: bool = False,
        domain: str = "lab.example",
        everywhere: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """everywhere: it listens on every address, of either family.

        settings: more fields of Go's testcontrol.Server that are data, by their names there.
        """
        self.scene = scene
        self.url = f"http://{host}:{port}"
        self.environment: Mapping[str, str] = {"TS_DEBUG_USE_DERP_HTTP": "1"}
        self.ssl_context: ssl.SSLContext | None = None
        if any(derper.tls for derper in derpers):
            self.environment = {}
        for ca in (derper.ca for derper in derpers if derper.ca):
            self.environment = {"SSL_CERT_FILE": str(ca.path)}
            self.ssl_context = ssl.create_default_context(cafile=ca.path)
        self._host, self._port = host, port
        derp_map = scene.folder / f"derpmap-{port}.json"
        regions = {str(derper.region): derper.region_json for derper in derpers}
        derp_map.write_text(json.dumps({"Regions": regions, "OmitDefaultRegions": True}))
        listens = "[::]" if everywhere else host
        self._command: list[str | Path] = [BIN / "testcontrol", "--addr", f"{listens}:{port}", "--verbose"]
        self._command += ["--derpmap", derp_map, "--domain", domain, "--require-authkey", require_auth_key]
        self._command += ["--require-auth"] if require_auth else []
        self._command += ["--same-user"] if same_user else []
        self._command += ["--settings", json.dumps(settings or {})]
        self._lines: Lines | None = None

    def __enter__(self) -> Self:
        process = self.scene.run(f"testcontrol-{self._port}", self._command, speak=True)
        self._lines = Lines(process)
        process.wait_until(lambda: can_connect(self._host, self._port), "listening")
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines:
            self._lines.close()

    def _call(self, op: str, **fields: Any) -> Any:
        assert self._lines is not None
        return self._lines.call(op, **fields)

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes, as tailcfg.Node JSON."""
        return self._call("nodes") or []

    def node(self, name: str) -> dict[str, Any]:
        """The node whose first label is `name`."""
        return next(node for node in self.nodes() if node.get("Name", "").split(".")[0] == name)

    def polls(self) -> int:
        """How many map streams are open."""
        return int(self._call("polls"))

    def await_poll(self, node_key: str) -> None:
        """Returns when the node is in a map poll."""
        self._call("await", node=node_key)

    def expire_all(self, expired: bool = True) -> None:
        self._call("expire_all", expired=expired)

    def update(self, node_key: str, **fields: object) -> dict[str, Any]:
        """Change fields of a node (names of tailcfg.Node) and tell everybody."""
        return dict(self._call("update", node=node_key, fields=fields))

    def fake_node(self) -> dict[str, Any]:
        """A node that nobody runs arrives."""
        return dict(self._call("fake_node"))

    def complete_auth(self, url: str) -> bool:
        """What a person does who follows the auth URL."""
        return bool(self._call("complete_auth", url=url))

    def send_map(self, node_key: str, response: Mapping[str, object]) -> bool:
        """One MapResponse as it is; from then on this node gets no others."""
        return bool(self._call("raw_map", node=node_key, map=response))

    def ping(self, node_key: str, request: Mapping[str, object]) -> bool:
        """A PingRequest in the node's next map message."""
        return bool(self._call("ping", node=node_key, ping=request))

    def told(self) -> list[tuple[str, str, str]]:
        """Requests to the URL `<url>/told/…`, which is the harness's own: method, path and body."""
        return [(told["Method"], told["Path"], told["Body"]) for told in self._call("told")]

    def set_routes(self, node_key: str, *routes: str) -> None:
        self._call("routes", node=node_key, routes=routes)

    def add_dns_records(self, *records: Mapping[str, str]) -> None:
        self._call("dns_records", records=records)

    def approve(self, node_key: str) -> bool:
        """What an admin does for a node that waits for approval. False if there is no such node."""
        return bool(self._call("approve", node=node_key))

    def c2n(self, node_key: str, path: str, method: str = "GET", body: str = "") -> tuple[int, str]:
        """One HTTP request to the node inside its map stream: the status and the body of its answer."""
        answer = self._call("c2n", node=node_key, method=method, path=path, body=body)
        return int(answer["status"]), str(answer["body"])

    def rate_limit(self, *rejections: tuple[str, str]) -> None:
        """The next registrations are answered by HTTP 429, each with such a Retry-After and such a text."""
        self._call("rate_limit", rejections=[{"RetryAfter": after, "Text": text} for after, text in rejections])

    def registers(self) -> list[float]:
        """When each registration came so far, rejected ones too, in Unix time."""
        return list(self._call("registers") or [])

    def change_first_map(self, **fields: object) -> None:
        """Fields of tailcfg.MapResponse that the first message of every map stream has from now on."""
        self._call("first_map", fields=fields)

    def hold_maps(self, held: bool = True) -> None:
        """Map requests wait until this is called with False."""
        self._call("hold_maps", held=held)

    def map_requests(self, node_key: str) -> int:
        """How many requests for a map the node has made, streams and updates."""
        return int(self._call("map_requests", node=node_key))

    def dns_requests(self) -> list[dict[str, Any]]:
        """The tailcfg.SetDNSRequests that were granted."""
        return list(self._call("dns_requests") or [])

    def refuse_dns(self, text: str) -> None:
        """Requests for DNS records fail with this text; "" grants them again."""
        self._call("dns_error", text=text)

    def set_node_caps(self, node_key: str, *names: str) -> None:
        """The node's own capabilities, as it and its peers see them."""
        self._call("node_caps", node=node_key, caps={name: [] for name in names})

    def jail(self, node_key: str, peer_key: str, jailed: bool = True) -> None:
        """The node is told to let the peer open nothing."""
        self._call("jail", node=node_key, peer=peer_key, jailed=jailed)

    def set_unsigned(self, node_key: str, unsigned: bool = True) -> None:
        """The others are told that the node may be spoken to by its PeerAPI alone."""
        self._call("unsigned", node=node_key, unsigned=unsigned)

    def set_ssh_policy(self, policy: Mapping[str, object] | None) -> None:
        self._call("ssh_policy", policy=policy)

    def count(self) -> int:
        """How many nodes it knows."""
        return int(self._call("count"))

    def knobs(self) -> dict[str, list[str]]:
        """The exported "fields" and "methods" of the Go type."""
        return dict(self._call("knobs"))

    def set_app_caps(self, caps: Mapping[str, object]) -> None:
        """Granted from everybody to everybody."""
        self._call("app_caps", caps=caps)
