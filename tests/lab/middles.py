"""Who plays control between two homes; the relays are derpers beside it, or its own.

| name        | what it is                                                                | its state after a restart |
|-------------|---------------------------------------------------------------------------|---------------------------|
| testcontrol | Tailscale's control server for tests                                      | none: it is not restarted |
| headscale   | Headscale, told of the derpers by a file; its own relay is off            | all of it                 |
| embedded    | our own `tsnet.testing.Tailnet`, with two relays of ours, as a process    | all of it: it is kept     |

All listen at the near server; Headscale speaks TLS, under a CA of the scene. `known` is what a control server knows of
a node. Headscale tells it on its debug port.

Source: Headscale 0.29.2 hscontrol/derp (the file of relays).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

import attrs

from tests.interop.harness.headscale import Headscale
from tests.interop.harness.lines import Lines
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tests.lab.internet import NEAR, NEAR_V6
from tests.lab.ourpeer import ROOT

PLAIN_DERP = {"TS_DEBUG_USE_DERP_HTTP": "1"}


@attrs.frozen
class Known:
    """home: the number of its region; 0 for none yet. online: it is in a map poll."""

    home: int = 0
    endpoints: Sequence[str] = ()
    online: bool = True


class Middle(Protocol):
    """Entered: it listens. `kill` and `start` are a restart, where its state outlives one."""

    port: int
    scheme: str
    environment: Mapping[str, str]
    auth_key: str

    def known(self, name: str) -> Known: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class OfTestControl:
    """control: the server, for what only it can do."""

    port, scheme = 8081, "http"
    auth_key = "any"

    def __init__(self, scene: Scene, derpers: Iterable[Derper]) -> None:
        self.control = TestControl(scene, *derpers, host=NEAR, port=self.port, everywhere=True)
        self.environment = self.control.environment

    def known(self, name: str) -> Known:
        node = self.control.node(name)
        return Known(int(node.get("HomeDERP") or 0), node.get("Endpoints") or [])

    def kill(self) -> None:
        raise AssertionError("testcontrol knows no node any more after a restart")

    start = kill

    def __enter__(self) -> Self:
        self.control.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.control.__exit__()


class HeadscaleHere(Headscale):
    """Headscale at the near server: all addresses, TLS under the scene's CA, the derpers in a file.

    With plain HTTP on a public address Go's client would insist on port 443 for two minutes after each good connection.
    """

    _names = (NEAR, NEAR_V6, "localhost")

    def __init__(self, scene: Scene, derpers: Iterable[Derper], port: int) -> None:
        path = scene.folder / "relays.yaml"
        path.write_text(relays_file(derpers))
        off = {"enabled": False}
        super().__init__(
            scene,
            tls=True,
            port=port,
            changes={
                "server_url": f"https://{NEAR}:{port}",
                "listen_addr": f"[::]:{port}",
                "derp": {"server": off, "urls": [], "paths": [str(path)], "auto_update_enabled": False},
            },
        )


def relays_file(derpers: Iterable[Derper]) -> str:
    """YAML, of which JSON is a part, but without numbers as keys. Names are those of Go's fields in small letters."""

    def small(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.lower(): small(inner) for key, inner in value.items()}
        return [small(inner) for inner in value] if isinstance(value, list) else value

    regions = (f"  {derper.region}: {json.dumps(small(derper.region_json))}\n" for derper in derpers)
    return f"regions:\n{''.join(regions)}"


class OfHeadscale:
    port, scheme = 8080, "https"

    def __init__(self, scene: Scene, derpers: Iterable[Derper]) -> None:
        self.headscale = HeadscaleHere(scene, derpers, self.port)
        self.environment: Mapping[str, str] = {**self.headscale.environment, **PLAIN_DERP}
        self.auth_key = ""

    def known(self, name: str) -> Known:
        nodes = self.headscale.known_nodes().values()
        node = next((node for node in nodes if node["GivenName"] == name), {})
        network = (node.get("Hostinfo") or {}).get("NetInfo") or {}
        return Known(int(network.get("PreferredDERP") or 0), node.get("Endpoints") or [], bool(node.get("IsOnline")))

    def kill(self) -> None:
        self.headscale.kill()

    def start(self) -> None:
        self.headscale.start()

    def __enter__(self) -> Self:
        self.headscale.__enter__()
        self.auth_key = self.headscale.auth_key()
        return self

    def __exit__(self, *_: object) -> None:
        self.headscale.__exit__()


class OfOurs:
    """Its program is `tests.lab.tailnetprogram`; the state directory makes a restart the same tailnet."""

    port, scheme = 8082, "http"
    environment: Mapping[str, str] = {}

    def __init__(self, scene: Scene, derpers: Iterable[Derper]) -> None:
        self.scene, self.auth_key = scene, ""
        self._lines: Lines | None = None

    def known(self, name: str) -> Known:
        assert self._lines is not None
        return Known(**self._lines.call("known", name=name))

    def kill(self) -> None:
        assert self._lines is not None
        self._lines.kill()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.lab.tailnetprogram", str(self.scene.folder / "tailnet"), str(self.port)]
        process = self.scene.run("tailnet", command, environment={"PYTHONPATH": str(ROOT)}, speak=True)
        self._lines = Lines(process)
        self.auth_key = str(self._lines.call("auth_key"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines:
            self._lines.close()


MIDDLES: dict[str, Callable[[Scene, Sequence[Derper]], Middle]] = {
    "testcontrol": OfTestControl,
    "headscale": OfHeadscale,
    "embedded": OfOurs,
}
