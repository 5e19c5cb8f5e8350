"""A relay region of an embedded tailnet: a DERP relay and STUN at an address of their own, with faults on demand.

    relay = tailnet.relays[0]              in the order in which the regions were added
    relay = tailnet.relay(901)             by its number, as events and status tell it

| call        | links to it         | new dials          | STUN          | what it is like                           |
|-------------|---------------------|--------------------|---------------|-------------------------------------------|
| `stop()`    | goodbye, then ended | refused            | no answer     | the relay is told to end                  |
| `kill()`    | reset, no goodbye   | refused            | no answer     | its process dies                          |
| `silence()` | stay, carry nothing | taken, no answer   | no answer     | its machine hangs, or its network is gone |
| `start()`   | old ones are reset  | taken              | answers again | the same relay again: key, port           |
| `restart()` | goodbye, then ended | taken              | answers       | `stop()` and `start()`                    |

In a simulated world a silent relay does not even take dials: they run into their timeouts.

The region stays in the DERP map all the while, so nodes have to find out. `tailnet.remove_region` takes it out.

Source: none.
Not here: the servers (`relayservers`), the tailnet (`tailnet`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tsnet.base.keys import NodeKey
from tsnet.testing.relayservers import RelayServers


class Owner(Protocol):
    """What a relay asks of the tailnet that it belongs to."""

    def _do(self, function: Callable[[], Any]) -> Any:
        """Run the function in the loop that owns the servers."""

    def _name_of(self, key: NodeKey) -> str:
        """The name of the node with that key; "" for a stranger."""

    def _open_relay(self, servers: RelayServers) -> None:
        """Let them listen, and tell the nodes where."""


class EmbeddedRelay:
    """A `Tailnet` makes it. Its methods may be called from any thread, while the tailnet runs."""

    def __init__(self, owner: Owner, servers: RelayServers) -> None:
        self._owner = owner
        self._servers = servers

    @property
    def region(self) -> int:
        """Its number in the DERP map."""
        return self._servers.region

    @property
    def code(self) -> str:
        """Its short name in the DERP map."""
        return self._servers.code

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its addresses, one of an IP version."""
        return self._servers.hosts

    @property
    def derp_port(self) -> int:
        return self._servers.derp.number

    @property
    def stun_port(self) -> int:
        return self._servers.stun.number

    @property
    def is_running(self) -> bool:
        """Whether it answers: it listens, and has not been silenced."""
        return self._servers.pump is not None and not self._servers.is_silent

    def clients(self) -> frozenset[str]:
        """The names of the nodes that are logged in there now."""

        def names() -> frozenset[str]:
            machine = self._servers.machine
            keys = frozenset() if machine is None else machine.clients
            return frozenset(filter(None, map(self._owner._name_of, keys)))

        found: frozenset[str] = self._owner._do(names)
        return found

    def stop(self) -> None:
        """End it in order: its clients are told, and new ones are refused. Twice is as good as once."""
        self._owner._do(self._servers.close)

    def kill(self) -> None:
        """End it as if its process died: every link ends, and nobody is told before."""
        self._owner._do(self._servers.kill)

    def silence(self) -> None:
        """Let it hang: its links stay, and nothing is answered any more. `start` ends that."""
        self._owner._do(self._servers.silence)

    def start(self) -> None:
        """Let it run again, with its key and at its ports. Links from before it was silent are reset."""
        self._owner._do(self._start)

    def restart(self) -> None:
        """`stop()` and `start()` in one step."""

        def restart() -> None:
            self._servers.close()
            self._start()

        self._owner._do(restart)

    def _start(self) -> None:
        if self._servers.is_silent:
            self._servers.kill()
        if self._servers.pump is None:
            self._owner._open_relay(self._servers)

    def __repr__(self) -> str:
        return f"<EmbeddedRelay {self.region} ({self.code}) at {', '.join(self.hosts)} port {self.derp_port}>"
