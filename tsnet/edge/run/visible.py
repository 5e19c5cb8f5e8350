"""What any thread may see of a node: its state, and the view of its netmap. Nothing here waits.

Not here: what a node does (`handle`), what is asked of it (`verbs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsnet.edge.io.reactor import Reactor
from tsnet.edge.io.world import World
from tsnet.edge.pipes.pipes import Pipe
from tsnet.edge.pipes.unbuffered import UnbufferedPipe
from tsnet.edge.run.host import Host
from tsnet.edge.run.pump import Pump
from tsnet.edge.run.reports import Reports
from tsnet.edge.run.setting import Setting
from tsnet.engine.lifecycle import Lifecycle
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.errors import ConfigError, Error, NotUp

if TYPE_CHECKING:
    from tsnet.engine.node import Node
    from tsnet.engine.view import NodeView
    from tsnet.prefs import Prefs


class Visible:
    """The part of a `Handle` that looks, and that tells readers of events."""

    host: Host
    reports: Reports
    setting: Setting
    _world: World | None
    _life: Lifecycle
    _pump: Pump | None

    @property
    def state(self) -> str:
        """As `Lifecycle.state`: "stopped", "starting", "needs-login", "needs-approval", "running", …"""
        return self._life.state.value

    @property
    def is_over(self) -> bool:
        """Whether the application has closed it."""
        return self._life.is_over

    @property
    def failure(self) -> Error | None:
        """Why the node has failed, or None."""
        return self._life.refusal() if self._life.has_failed else None

    @property
    def prefs(self) -> Prefs:
        return self.setting.prefs

    @property
    def login_url(self) -> str:
        return self._life.login_url

    @property
    def view(self) -> NodeView | None:
        """The netmap and what follows from it; None before the first one, and when the node is gone. Take it once."""
        pump = self._pump
        return None if pump is None else pump.node.view

    def path_to(self, key: bytes) -> PeerPath:
        """How that peer is reached now; NO_PATH of one that nothing was sent to, and when the node is gone."""
        pump = self._pump
        return NO_PATH if pump is None else pump.node.path_to(key)

    @property
    def world(self) -> World:
        return self._world or self.host.world

    @property
    def reactor(self) -> Reactor:
        """For descriptors of the application's side. Raises ConfigError in a simulated world, which has none."""
        reactor = self.world.reactor
        if reactor is None:
            raise ConfigError("a simulated world has no descriptors: use streams")
        return reactor

    @property
    def pump(self) -> Pump:
        """Raises NotUp where there is none."""
        if self._pump is None:
            raise NotUp("the node is not running")
        return self._pump

    @property
    def node(self) -> Node:
        return self.pump.node

    def publish(self, event: object) -> None:
        """Tell those who read this node's events, until these have ended."""
        self.reports.publish(event)

    def unbuffered(self, pipe: Pipe) -> UnbufferedPipe:
        return UnbufferedPipe(pipe, self.pump)
