"""Joining a control server and a relay that are 80 ms away, beside Go's tsnet: who is there first, and by how many
round trips one after the other.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.interop.harness.faraway import FarAway, TlsFront
from tests.interop.harness.gopeer import GoPeer
from tests.interop.harness.headscale import Headscale
from tests.interop.harness.lines import Lines
from tests.interop.harness.process import Process
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene, ip
from tests.interop.harness.testcontrol import Derper

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(180)]

ROUND_TRIP = 0.08
ROUNDS = 3
NEAR_CONTROL, NEAR_TLS, FAR_CONTROL = 8080, 8443, 18080
NEAR_DERP, FAR_DERP = 3340, 13340
NEAR_STUN, FAR_STUN = 3478, 13478
ECHO = ":7"
ROOT = Path(__file__).parent.parent.parent
TOLERANCE = 1.05
"""The medians of an idle machine differ by two hundredths from run to run."""

BUSY = 0.04
"""Seconds that a process was queued. Where it is more, the servers and the way to them were late, too."""

OF_GO = {"https": 10, "http": 9}
"""Round trips of Go's node. With fewer, its `Up` has returned before its relay had taken it in: its first byte comes no
sooner then, but there is nothing to compare when it had joined."""

SERIAL = {("https", "cold"): 10, ("https", "warm"): 5, ("http", "cold"): 9, ("http", "warm"): 5}
"""Round trips one after the other, of ours: one more than are needed, for a turn that comes too late for another."""

RELAYED = {"TS_DEBUG_NEVER_DIRECT_UDP": "1"}
"""Peers are reached by the relay alone, and STUN works."""
INTERFACE_ADDRESS = "10.9.0.1/32"
"""Go asks no STUN server while loopback is all that it has."""


@attrs.frozen
class Took:
    """joined: seconds from the call until the node runs and its home relay has taken it in; ours also waits until
    control knows that relay. first_byte: the same, with a stream to a peer and a byte there and back.

    process: seconds from its start until it had joined. queued: seconds for which its threads had to wait for a
    processor meanwhile. serial: the round trips one after the other until it had joined.
    """

    joined: float
    first_byte: float
    process: float
    queued: float
    serial: float


def queued(pid: int) -> float:
    """Seconds for which threads of that process could have run, and others did."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[1]) for task in tasks) / 1e9


@attrs.frozen
class Far:
    """What a launcher of a node needs to know of the control server."""

    headscale: Headscale
    url: str
    environment: Mapping[str, str]
    way: FarAway


@contextlib.contextmanager
def far_tailnet(scene: Scene, scheme: str) -> Iterator[Far]:
    need("headscale", "derper", "tsnetpeer")
    ip("-n", scene.name, "addr", "add", INTERFACE_ADDRESS, "dev", "lo")
    with contextlib.ExitStack() as stack:
        derper = stack.enter_context(Derper(scene, port=NEAR_DERP, stun_port=NEAR_STUN, tls="ca"))
        assert derper.ca is not None
        region: Any = derper.region_json
        region["Nodes"][0] |= {"DERPPort": FAR_DERP, "STUNPort": FAR_STUN}
        relays = scene.folder / "relays.yaml"
        relays.write_text(f"regions:\n  {derper.region}: {json.dumps(_small(region))}\n")
        url = f"http://127.0.0.1:{FAR_CONTROL}" if scheme == "http" else "https://127.0.0.1"
        derp = {"server": {"enabled": False}, "urls": [], "paths": [str(relays)], "auto_update_enabled": False}
        quick = {"batch_change_delay": "5ms", "node_store_batch_size": 1, "node_store_batch_timeout": "1ms"}
        changes = {"server_url": url, "derp": derp, "tuning": quick}
        headscale = Headscale(scene, port=NEAR_CONTROL, changes=changes)
        stack.enter_context(headscale)
        far = stack.enter_context(FarAway(ROUND_TRIP))
        far.streams(FAR_DERP, NEAR_DERP)
        far.datagrams(FAR_STUN, NEAR_STUN)
        if scheme == "http":
            far.streams(FAR_CONTROL, NEAR_CONTROL)
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(derper.ca.folder / "127.0.0.1.crt", derper.ca.folder / "127.0.0.1.key")
            stack.enter_context(TlsFront(NEAR_TLS, NEAR_CONTROL, context))
            far.streams(443, NEAR_TLS)
            far.streams(80, NEAR_CONTROL)
        yield Far(headscale, url, {"SSL_CERT_FILE": str(derper.ca.path)}, far)


def _small(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): _small(inner) for key, inner in value.items()}
    return [_small(inner) for inner in value] if isinstance(value, list) else value


def ours(scene: Scene, far: Far, name: str, key: str, address: str) -> Took:
    command = [sys.executable, "-m", "tests.interop.harness.joiner", "--hostname", name, "--control", far.url]
    command += ["--authkey", key, "--dir", str(scene.folder / f"ours-{name}")]
    environment = {**far.environment, **RELAYED, "PYTHONPATH": str(ROOT)}
    begun = time.monotonic()
    with Lines(scene.run(f"ours-{name}", command, environment=environment, speak=True)) as lines:
        lines.call("ready")
        found = measure(
            lines.process, begun, far, lambda: lines.call("up"), lambda: lines.call("first_byte", address=address)
        )
        lines.call("quit")
    return found


def go(scene: Scene, far: Far, name: str, key: str, address: str) -> Took:
    begun = time.monotonic()
    with GoPeer(scene, far, name, auth_key=key, environment=RELAYED) as peer:
        return measure(
            peer.process,
            begun,
            far,
            lambda: peer.call("up"),
            lambda: peer.call("connections", address=address, count=1),
        )


def measure(process: Process, begun: float, far: Far, up: Callable[[], Any], byte: Callable[[], Any]) -> Took:
    """Both calls answer with the `seconds` that they took."""
    before = queued(process.pid)
    far.way.count()
    joined = float(up()["seconds"])
    serial, since_start, lost = far.way.serial, time.monotonic() - begun, queued(process.pid) - before
    first_byte = joined + float(byte()["seconds"])
    return Took(joined, first_byte, since_start, lost, serial)


def medians(runs: list[Took]) -> Took:
    return Took(*(statistics.median(column) for column in zip(*map(attrs.astuple, runs), strict=True)))


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_we_join_far_servers_no_later_than_go(scene: Scene, scheme: str) -> None:
    """http: control in the clear. https: by TLS; Go's handshake goes to port 80 first, as its URL has no port."""
    with (
        far_tailnet(scene, scheme) as far,
        GoPeer(scene, far, "echo", auth_key=far.headscale.auth_key(), environment=RELAYED) as echo,
    ):
        address = f"{echo.up().v4}{ECHO}"
        echo.listen(ECHO, "echo")
        key = far.headscale.auth_key()
        found: dict[tuple[str, str], list[Took]] = {}
        for number in range(ROUNDS):
            for start in ("cold", "warm"):
                found.setdefault(("ours", start), []).append(ours(scene, far, f"ours-{number}", key, address))
                found.setdefault(("Go", start), []).append(go(scene, far, f"go-{number}", key, address))
    median = {who: medians(runs) for who, runs in found.items()}
    for (who, start), took in median.items():
        print(f"{scheme} {who} {start}:", *(f"{name} {value:.3f}" for name, value in attrs.asdict(took).items()))
    for start in ("cold", "warm"):
        mine, theirs = median["ours", start], median["Go", start]
        assert mine.serial <= SERIAL[scheme, start]
        if max(mine.queued, theirs.queued) > BUSY:
            print(f"{scheme} {start}: the machine is too busy to compare seconds")
            continue
        assert mine.first_byte <= theirs.first_byte * TOLERANCE
        if theirs.serial >= OF_GO[scheme]:
            assert mine.serial < theirs.serial
            assert mine.joined <= theirs.joined * TOLERANCE
