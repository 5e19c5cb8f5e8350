"""The ports of an embedded tailnet's servers: those that were asked for, else those of last time, else free ones.

| the port is taken by another program    |                                                                   |
|-----------------------------------------|-------------------------------------------------------------------|
| it was asked for                        | OSError                                                           |
| it is control's of last time            | AddressInUse: nodes know from their users alone where control is  |
| it is a relay's or STUN's of last time  | a free one is taken, and control tells the nodes                  |

Not here: which servers there are (`tailnet`, `relays`), how their ports are kept (`tsnet.control.server.snapshot`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from tsnet.edge.io.link_limits import LinkLimits
from tsnet.edge.io.log import log
from tsnet.edge.io.world import ListenPort, World
from tsnet.edge.run.servers import Machine, ServerPump
from tsnet.errors import AddressInUse

T = TypeVar("T")
CONTROL = "control"


class ServerPort:
    """One port number. what: the server that listens there, in a word. number: the one in use, or last used; 0 for
    none yet. asked: the one that the options name; 0 if they name none."""

    def __init__(self, what: str, asked: int = 0) -> None:
        self.what = what
        self.asked = asked
        self.number: int = asked

    def take_on(self, kept: int) -> None:
        """Wish for the port of last time, unless another was asked for."""
        self.number = self.asked or kept

    def bind(self, bind: Callable[[int], T]) -> T:
        """Bind by calling `bind` with a number, 0 for any."""
        try:
            return bind(self.number)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or self.number == self.asked:
                raise
            if self.what == CONTROL:
                raise AddressInUse(
                    f"port {self.number} is taken, at which the nodes of this tailnet look for control. End the "
                    "program that listens there; or choose another port and give its URL to every node"
                ) from None
            log.info("port %d is taken, where the %s of this tailnet was; it takes another one", self.number, self.what)
        return bind(0)

    def listen(
        self,
        world: World,
        hosts: tuple[str, ...],
        make: Callable[[int], Machine],
        *,
        limits: LinkLimits,
        ssl_context: Any = None,
    ) -> ServerPump:
        """A server that listens at each of these addresses, at one number. It is bound before `make` is called, because
        the machine must know its number. The caller gives the pump to a host."""
        pump: list[ServerPump] = []
        bound: list[ListenPort] = []

        def bind(host: str, number: int) -> ListenPort:
            return world.listen(
                host,
                number,
                lambda: pump[0].mark() if pump else None,
                ssl_context=ssl_context,
                sniff_tls=ssl_context is not None,
                limits=limits,
            )

        try:
            bound.append(self.bind(lambda number: bind(hosts[0], number)))
            self.number = bound[0].address[1]
            bound += [bind(host, self.number) for host in hosts[1:]]
        except OSError:
            for port in bound:
                port.close()
            raise
        pump.append(ServerPump(make(self.number), world))
        for port in bound:
            pump[0].add(port)
        return pump[0]
