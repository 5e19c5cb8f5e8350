"""Several machines on one wire: namespaces joined by a bridge in the scene's own, where control and relays listen.

    hub = Hub(scene)                     the test's own thread is at hub.v4 and hub.v6
    place = hub.machine("a")             a namespace with an address of each version; its gateway is the hub
    place.move("10.77.9.9/16")           it has another IPv4 address from now on

Nothing leads outside: the hub forwards nothing, and has no route of its own.
"""

from __future__ import annotations

from tests.interop.harness.scene import Scene, ip

V4, V6 = "10.77.0.{}/16", "fd77::{}/64"


class Place:
    """A machine: the namespace's full name, and its addresses."""

    def __init__(self, namespace: str, number: int) -> None:
        self.namespace = namespace
        self.v4: str = V4.format(number)
        self.v6: str = V6.format(number)

    @property
    def hosts(self) -> set[str]:
        return {self.v4.partition("/")[0], self.v6.partition("/")[0]}

    def _ip(self, *arguments: str) -> None:
        ip("-n", self.namespace, *arguments)

    def move(self, v4: str) -> None:
        """Another IPv4 address, in place of the old one; and no IPv6 any more."""
        self._ip("addr", "del", self.v4, "dev", "eth0")
        self._ip("addr", "add", v4, "dev", "eth0")
        self._ip("-6", "addr", "flush", "dev", "eth0", "scope", "global")
        self._ip("route", "replace", "default", "via", "10.77.0.1")
        self.v4, self.v6 = v4, ""


class Hub:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.v4, self.v6 = "10.77.0.1", "fd77::1"
        self._count = 1
        ip("-n", scene.name, "link", "add", "hub", "type", "bridge")
        ip("-n", scene.name, "addr", "add", V4.format(1), "dev", "hub")
        ip("-n", scene.name, "addr", "add", V6.format(1), "dev", "hub", "nodad")
        ip("-n", scene.name, "link", "set", "hub", "up")

    def machine(self, name: str, *, v4: bool = True, v6: bool = True) -> Place:
        self._count += 1
        place = Place(self.scene.namespace(name), self._count)
        port = f"port{self._count}"
        ip(
            "link",
            "add",
            port,
            "netns",
            self.scene.name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            place.namespace,
        )
        ip("-n", self.scene.name, "link", "set", port, "master", "hub", "up")
        if v4:
            place._ip("addr", "add", place.v4, "dev", "eth0")
        if v6:
            place._ip("addr", "add", place.v6, "dev", "eth0", "nodad")
        place._ip("link", "set", "eth0", "up")
        if v4:
            place._ip("route", "add", "default", "via", self.v4)
        if v6:
            place._ip("-6", "route", "add", "default", "via", self.v6)
        return place
