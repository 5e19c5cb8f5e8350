"""What an application may open on a node that runs: connections, listeners, datagram endpoints, pings.

An error of the stack becomes a `tsnet.Error`, which says what to do about it where something can be done.

Not here: whether the node runs (`node`), the bytes that flow (`engine`).
"""

from __future__ import annotations

from collections.abc import Callable

from netstack import IcmpEndpoint, TcpConnection, TcpListener, UdpEndpoint
from netstack import errors as netstack_errors
from tsnet.base.addresses import IPAddress, parse_address
from tsnet.base.keys import NodeKey
from tsnet.base.trace import Trace
from tsnet.base.wording import Wording, api
from tsnet.engine.engine import Engine
from tsnet.errors import AddressInUse, AddressNotAvailable, Error, NotOnTailnet, NotUp
from tsnet.netmap.names import Names

MAX_FOUND = 64
"""Names whose addresses are remembered, until the netmap changes."""


class SocketCalls:
    """names: the tailnet's names, None before the first netmap. refusal: why nothing may be opened now, or None."""

    def __init__(self, engine: Engine, entropy: Callable[[int], bytes], *, trace: Trace | None = None) -> None:
        self.names: Names | None = None
        self.refusal: Error | None = None
        self._engine, self._entropy, self._trace = engine, entropy, trace
        self._found: dict[str, tuple[IPAddress, ...]] = {}
        self._found_in: Names | None = None

    def resolve(self, host: str) -> IPAddress:
        """The address that a tailnet name or an address stands for. A name's v4 address is preferred.

        Raises NotOnTailnet for what no node owns, and `refusal` or NotUp when nothing may be opened.
        """
        names = self._check_ready()
        literal = parse_address(host)
        if literal is not None:
            if literal in self._engine.stack.addresses or self._engine.egress.routes.lookup(literal.packed) is not None:
                return literal
            raise NotOnTailnet(
                Wording(f"no node of this tailnet owns {host}: see ", api("status()"), " for the peers of this node")
            )
        for address in self._look_up(names, host):
            if self._engine.own_address(len(address.packed)) is not None:
                return address
        raise NotOnTailnet(
            Wording(
                f"no node of this tailnet is called {host!r}: see ",
                api("status()"),
                " for the peers of this node; names are MagicDNS names, short or full",
            )
        )

    def _look_up(self, names: Names, host: str) -> tuple[IPAddress, ...]:
        """The addresses of that name, v4 first. Whoever dials often dials few, and a netmap keeps them packed."""
        if names is not self._found_in or len(self._found) >= MAX_FOUND:
            self._found, self._found_in = {}, names
        found = self._found.get(host)
        if found is None:
            found = self._found[host] = tuple(sorted(names.resolve(host), key=lambda address: address.version))
        return found

    def address_towards(self, remote: IPAddress) -> IPAddress:
        """Our own address of the same family as `remote`. Raises AddressNotAvailable if there is none."""
        for address in self._engine.stack.addresses:
            if address.version == remote.version:
                return address
        raise AddressNotAvailable(f"this node has no IPv{remote.version} address to reach {remote} from")

    def connect(self, address: IPAddress, port: int, now: float) -> TcpConnection:
        self._check_ready()
        link = self._engine.egress.routes.lookup(address.packed)
        if self._trace is not None:
            self._trace("connecting", to=address, port=port, peer="nobody" if link is None else NodeKey(link))
        try:
            connection = self._engine.stack.connect(address, port, now, link=link)
        except netstack_errors.NetstackError as error:
            raise AddressNotAvailable(f"cannot connect to {address}: {error}") from None
        self._engine.rejected_flows.opens(connection, now)
        return connection

    def listen(
        self, port: int, address: IPAddress | None, *, backlog: int = 128, max_connections: int | None = None
    ) -> TcpListener:
        self._check_own(address)
        try:
            return self._engine.stack.listen(port, address=address, backlog=backlog, max_connections=max_connections)
        except netstack_errors.AddressInUse:
            raise AddressInUse(
                f"TCP port {port} is already listened on by this node: choose another, or 0 for any free one"
            ) from None
        except netstack_errors.NetstackError as error:
            raise AddressNotAvailable(f"cannot listen on port {port}: {error}") from None

    def open_udp(self, port: int, address: IPAddress | None) -> UdpEndpoint:
        self._check_own(address)
        try:
            return self._engine.stack.open_udp(port, address=address)
        except netstack_errors.AddressInUse:
            raise AddressInUse(
                f"UDP port {port} is already listened on by this node: choose another, or 0 for any free one"
            ) from None
        except netstack_errors.NetstackError as error:
            raise AddressNotAvailable(f"cannot open UDP port {port}: {error}") from None

    def open_ping(self, address: IPAddress) -> IcmpEndpoint:
        self._check_ready()
        return self._engine.stack.ping(address)

    def ping_data(self) -> bytes:
        return self._entropy(8)

    def _check_own(self, address: IPAddress | None) -> None:
        self._check_ready()
        addresses = self._engine.stack.addresses
        if address is not None and address not in addresses:
            own = ", ".join(map(str, addresses))
            raise AddressNotAvailable(f"{address} is not an address of this node; those are {own}")

    def _check_ready(self) -> Names:
        if self.refusal is not None:
            raise self.refusal
        if self.names is None:
            raise NotUp("the node is not running")
        return self.names
