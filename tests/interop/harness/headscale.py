"""Headscale 0.29.3 on loopback, with its own DERP and STUN, and its command line.

    with Headscale(scene, tls=True) as headscale:
        key = headscale.auth_key(user="u1", ephemeral=True)

Plain HTTP by default: then Go clients need TS_DEBUG_USE_DERP_HTTP=1 (it is in `environment`). With `tls=True` control
and DERP speak TLS on the same port, under a CA of the scene (`ca`), named in SSL_CERT_FILE.

Source: Headscale 0.29.3 config-example.yaml.
"""

from __future__ import annotations

import datetime
import json
import signal
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from tests.interop.harness.certificates import PrivateCA
from tests.interop.harness.process import Process, ProcessError, can_connect
from tests.interop.harness.requirements import BIN
from tests.interop.harness.scene import Scene

LOOPBACK = "127.0.0.1"
DERP_REGION = 999
BASE_DOMAIN = "lab.example"


class Headscale:
    """Entering it starts it; `stop`, `kill` and `start` may follow in any order, its database stays."""

    _names = ("127.0.0.1", "::1", "localhost")

    def __init__(
        self,
        scene: Scene,
        *,
        tls: bool = False,
        host: str = LOOPBACK,
        port: int = 8080,
        stun_port: int = 3478,
        policy: Mapping[str, object] | None = None,
        ephemeral_timeout: str = "30m",
        changes: Mapping[str, object] | None = None,
    ) -> None:
        """`policy` is an ACL file's content, nothing allows all; `changes` replaces top-level settings.

        host: where it is reached, DERP and STUN with it; the thread that starts it must be there.
        """
        self.scene = scene
        self.folder = scene.folder / f"headscale-{port}"
        self.folder.mkdir()
        self.ca = PrivateCA(self.folder) if tls else None
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        self._host = host
        self.process: Process | None = None
        self._port = port
        self._users: dict[str, str] = {}
        self._config = self.folder / "config.json"  # JSON is YAML
        self._policy = self.folder / "policy.json"
        settings = self._settings(port, stun_port, ephemeral_timeout) | dict(changes or {})
        if policy is not None:
            self._policy.write_text(json.dumps(policy))
            settings["policy"] = {"mode": "file", "path": str(self._policy)}
        self._config.write_text(json.dumps(settings, indent=1))

    @property
    def environment(self) -> Mapping[str, str]:
        return {"SSL_CERT_FILE": str(self.ca.path)} if self.ca else {"TS_DEBUG_USE_DERP_HTTP": "1"}

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """For our own node: trusts the scene's CA and nothing else. None on plain HTTP."""
        return ssl.create_default_context(cafile=self.ca.path) if self.ca else None

    def _settings(self, port: int, stun_port: int, ephemeral_timeout: str) -> dict[str, object]:
        settings: dict[str, object] = {
            "server_url": self.url,
            "listen_addr": f"{self._host}:{port}",
            "metrics_listen_addr": f"127.0.0.1:{port + 1010}",
            "grpc_listen_addr": f"127.0.0.1:{port + 42363}",
            "grpc_allow_insecure": True,
            "noise": {"private_key_path": str(self.folder / "noise.key")},
            "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
            "derp": {"server": self._derp(stun_port), "urls": [], "paths": [], "auto_update_enabled": False},
            "disable_check_updates": True,
            "node": {"ephemeral": {"inactivity_timeout": ephemeral_timeout}},
            "database": {
                "type": "sqlite",
                "sqlite": {"path": str(self.folder / "db.sqlite"), "write_ahead_log": True},
            },
            "policy": {"mode": "file", "path": ""},
            "dns": {
                "magic_dns": True,
                "base_domain": BASE_DOMAIN,
                "override_local_dns": False,
                "nameservers": {"global": []},
            },
            "unix_socket": str(self._socket),
            "unix_socket_permission": "0700",
            "logtail": {"enabled": False},
        }
        if self.ca:
            certificate, key = self.ca.leaf(*self._names)
            settings |= {"tls_cert_path": str(certificate), "tls_key_path": str(key)}
        return settings

    def _derp(self, stun_port: int) -> dict[str, object]:
        return {
            "enabled": True,
            "region_id": DERP_REGION,
            "region_code": "lab",
            "region_name": "lab",
            "verify_clients": False,
            "stun_listen_addr": f"{self._host}:{stun_port}",
            "private_key_path": str(self.folder / "derp.key"),
            "automatically_add_embedded_derp_region": True,
            "ipv4": self._host,
            "ipv6": "::1",
        }

    @property
    def _socket(self) -> Path:
        return self.folder / "hs.sock"

    def start(self) -> None:
        """Returns when its command line and its clients are answered (about half a second)."""
        self._socket.unlink(missing_ok=True)
        self.process = self.scene.run(self.folder.name, [BIN / "headscale", "-c", self._config, "serve"])
        self.process.wait_until(self._socket.exists, "listening on its socket")
        self.process.wait_until(lambda: can_connect(self._host, self._port), "listening on its port")

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def kill(self) -> None:
        if self.process:
            self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def present(self, days: tuple[float, float]) -> None:
        """Restart it with another certificate, which is good from the first to the second of these days from now."""
        assert self.ca is not None
        self.ca.leaf(*self._names, days=days)
        self.restart()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The command line.

    def cli(self, *arguments: str) -> str:
        """What `headscale …` prints on stdout."""
        done = subprocess.run(
            [str(BIN / "headscale"), "-c", str(self._config), *arguments],
            capture_output=True,
            text=True,
            env=self.scene.environment(),
            check=False,
            timeout=30,
        )
        if done.returncode:
            raise ProcessError(f"headscale {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _json(self, *arguments: str) -> Any:
        return json.loads(self.cli(*arguments, "-o", "json"))

    def user(self, name: str) -> str:
        """The user's number; made at the first call."""
        if name not in self._users:
            self._users[name] = str(self._json("users", "create", name)["id"])
        return self._users[name]

    def auth_key(
        self,
        user: str = "u1",
        *,
        reusable: bool = True,
        ephemeral: bool = False,
        tags: Sequence[str] = (),
        expiration: str = "24h",
    ) -> str:
        """A new key; a user that does not exist is made. A key with tags belongs to its tags, not to the user."""
        arguments = ["preauthkeys", "create", "-u", self.user(user), "-e", expiration]
        arguments += ["--reusable"] if reusable else []
        arguments += ["--ephemeral"] if ephemeral else []
        arguments += ["--tags", ",".join(tags)] if tags else []
        return self.cli(*arguments).split()[-1]

    def nodes(self) -> list[dict[str, Any]]:
        """As `nodes list -o json` tells them: id, given_name, name, online, user, ip_addresses, node_key, …"""
        return self._json("nodes", "list") or []

    def known_nodes(self) -> dict[str, dict[str, Any]]:
        """All that it knows of its nodes, by number, as its debug port tells: GivenName, Endpoints, Hostinfo, …"""
        url = f"http://{LOOPBACK}:{self._port + 1010}/debug/nodestore"
        with urlopen(Request(url, headers={"Accept": "application/json"}), timeout=10) as answer:
            return dict(json.load(answer))

    def node(self, name: str) -> dict[str, Any]:
        """The node of that given name."""
        found = [node for node in self.nodes() if node["given_name"] == name]
        if not found:
            raise LookupError(f"no node {name} in {[node['given_name'] for node in self.nodes()]}")
        return found[0]

    def delete_node(self, name: str) -> None:
        self.cli("nodes", "delete", "-i", str(self.node(name)["id"]), "--force")

    def expire_node(self, name: str) -> None:
        self.cli("nodes", "expire", "-i", str(self.node(name)["id"]))

    def extend_node(self, name: str) -> None:
        """Its key, expired or not, is good for another day."""
        tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        expiry = tomorrow.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.cli("nodes", "expire", "-i", str(self.node(name)["id"]), "--expiry", expiry)

    def rename_node(self, name: str, new_name: str) -> None:
        self.cli("nodes", "rename", "-i", str(self.node(name)["id"]), new_name)

    def expire_auth_key(self, key: str) -> None:
        """By its secret; the list shows only a beginning of each."""
        for known in self._json("preauthkeys", "list"):
            if key.startswith(known["key"].rstrip("*").rstrip("-")):
                self.cli("preauthkeys", "expire", "-i", str(known["id"]))
                return
        raise LookupError("Headscale does not know this key")

    def register(self, auth_url: str, user: str = "u1") -> None:
        """Finish an interactive login: what a person does who follows the auth URL."""
        self.user(user)
        self.cli("auth", "register", "--auth-id", auth_url.rstrip("/").rsplit("/", 1)[-1], "--user", user)

    def set_policy(self, policy: Mapping[str, object]) -> None:
        """Replace the policy file that the constructor wrote, and have it read again."""
        self._policy.write_text(json.dumps(policy))
        assert self.process is not None
        self.process.signal(signal.SIGHUP)
