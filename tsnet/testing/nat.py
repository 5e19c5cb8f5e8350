"""NAT as RFC 4787 describes it: a frozen value that says how one behaves, and the table that behaves so.

| preset             | mapping                    | filtering                  | port kept | elsewhere called         |
|--------------------|----------------------------|----------------------------|-----------|--------------------------|
| FULL_CONE          | endpoint-independent       | endpoint-independent       | if free   |                          |
| ADDRESS_RESTRICTED | endpoint-independent       | address-dependent          | if free   |                          |
| EASY               | endpoint-independent       | address and port-dependent | if free   | port-restricted cone     |
| EASY_WITH_STRAYS   | as EASY                    | as EASY                    | see below |                          |
| HARD               | address and port-dependent | address and port-dependent | never     | symmetric                |

Mapping: for which destinations the outside sees another port. Filtering: whom a mapping lets in, of those that the
inside has sent to. Both last `lifetime` seconds from the last datagram outward.

`admits_strays` is a router made of Linux's masquerade whose firewall accepts what nobody asked for. What comes in from
S to port P then makes an entry, and when the inside sends to S later, P is taken for that destination: S sees another
port. Each further stray renews the entry.

Source: RFC 4787 §4.1 (mapping), §4.2 (ports), §4.3 (lifetime), §5 (filtering), §6 (hairpinning).
Not here: how datagrams get to the table (`router`), firewalls without translation (`firewall`).
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Hashable

import attrs

from tsnet.base.addresses import UdpAddress
from tsnet.errors import ConfigError

FIRST_PORT, LAST_PORT = 1024, 65_535
MAX_TALKED = 256
"""How many of those that the inside has sent to a mapping remembers; the oldest is forgotten first."""
MAX_STRAYS = 4096
MOST_MAPPINGS = 60_000
"""A free port is looked for at random, and must be found."""
MAX_ANSWERS = 4096


class Dependence(enum.Enum):
    """What of the remote address a mapping, or a filter, tells apart."""

    ENDPOINT_INDEPENDENT = "nothing"
    ADDRESS_DEPENDENT = "its IP address"
    ADDRESS_AND_PORT_DEPENDENT = "its IP address and port"

    def of(self, remote: UdpAddress) -> Hashable:
        if self is Dependence.ENDPOINT_INDEPENDENT:
            return None
        return remote.host if self is Dependence.ADDRESS_DEPENDENT else remote


@attrs.frozen(kw_only=True)
class Nat:
    """keeps_port: an inside port keeps its number outside, if that is free; else it is random.

    hairpin: hosts behind it reach each other by their outside addresses. lifetime: seconds. inbound_refreshes: a
    datagram that is let in renews the mapping, too, though not the permission to come in. max_mappings: how many there
    may be; more are refused.
    """

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    keeps_port: bool = True
    hairpin: bool = False
    lifetime: float = 120.0
    inbound_refreshes: bool = False
    admits_strays: bool = False
    max_mappings: int = attrs.field(default=4096)

    @max_mappings.validator
    def _check(self, _attribute: object, value: int) -> None:
        if not 1 <= value <= MOST_MAPPINGS:
            raise ConfigError(f"a NAT has room for 1 to {MOST_MAPPINGS} mappings, not {value}: each takes a port")


FULL_CONE = Nat(filtering=Dependence.ENDPOINT_INDEPENDENT)
ADDRESS_RESTRICTED = Nat(filtering=Dependence.ADDRESS_DEPENDENT)
EASY = Nat()
EASY_WITH_STRAYS = Nat(admits_strays=True)
HARD = Nat(mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT, keeps_port=False)


class _Mapping:
    """inside: who sends. talked: what the filter compares, of those that were sent to, and until when."""

    __slots__ = ("expires_at", "inside", "key", "port", "talked")

    def __init__(self, key: Hashable, inside: UdpAddress, port: int) -> None:
        self.key = key
        self.inside = inside
        self.port = port
        self.expires_at = 0.0
        self.talked: dict[Hashable, float] = {}


class NatTable:
    """The mappings of one NAT, without its address: it speaks of outside ports. The clock is passed in."""

    def __init__(self, nat: Nat, draw: random.Random) -> None:
        self.nat = nat
        self._draw = draw
        self._by_key: dict[Hashable, _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}
        self._sweep_at = 0.0
        self._opened: dict[int, tuple[UdpAddress, float]] = {}
        self._answers: dict[tuple[UdpAddress, UdpAddress], tuple[int, float]] = {}
        """Who has come in by an open port, and is answered from it."""
        self._strays: dict[tuple[UdpAddress, int], float] = {}

    def __len__(self) -> int:
        """How many mappings there are, those included whose time has been over for no longer than a lifetime."""
        return len(self._by_port)

    def outbound(self, inside: UdpAddress, remote: UdpAddress, now: float) -> int | None:
        """The outside port of a datagram from within; None if there is no room for another mapping."""
        answer = self._answers.get((inside, remote))
        if answer is not None and answer[1] > now and self.opened(answer[0], now) == inside:
            return self._note_answer(inside, remote, answer[0], now)
        mapping = self._of_flow(inside, remote, now) or self._of_inside(inside, remote, now)
        if mapping is not None and self._is_stray(remote, mapping.port, now):
            mapping = self._make(("flow", inside, remote), inside, 0, now)
        if mapping is None:
            return None
        mapping.expires_at = now + self.nat.lifetime
        compared = self.nat.filtering.of(remote)
        mapping.talked.pop(compared, None)
        mapping.talked[compared] = now + self.nat.lifetime
        if len(mapping.talked) > MAX_TALKED:
            del mapping.talked[next(iter(mapping.talked))]
        return mapping.port

    def inbound(self, remote: UdpAddress, port: int, now: float) -> UdpAddress | None:
        """Whom inside a datagram from outside to that port is for; None if it is dropped."""
        opened = self.opened(port, now)
        if opened is not None:
            self._note_answer(opened, remote, port, now)
            return opened
        mapping = self._alive(self._by_port.get(port), now)
        if mapping is None or mapping.talked.get(self.nat.filtering.of(remote), 0.0) <= now:
            self._stray(remote, port, now)
            return None
        if self.nat.inbound_refreshes:
            mapping.expires_at = now + self.nat.lifetime
        return mapping.inside

    def open(self, port: int, inside: UdpAddress, until: float = math.inf) -> None:
        """Whatever comes to that outside port goes to that inside address, until then, `shut` or `forget`."""
        self._opened[port] = (inside, until)

    def shut(self, port: int) -> None:
        self._opened.pop(port, None)

    def forget(self) -> None:
        """What a restart does: everything is gone."""
        self._by_key.clear()
        self._by_port.clear()
        self._opened.clear()
        self._answers.clear()
        self._strays.clear()

    def opened(self, port: int, now: float) -> UdpAddress | None:
        """Where `open` leads that port to."""
        inside, until = self._opened.get(port, (None, 0.0))
        return inside if until > now else None

    def opened_by(self, inside: UdpAddress, now: float) -> int | None:
        """The port that is open for that inside address."""
        return next((port for port, (to, until) in self._opened.items() if to == inside and until > now), None)

    def count_opened(self, now: float) -> int:
        """How many ports are open. Those whose time is over are forgotten."""
        self._opened = {port: opened for port, opened in self._opened.items() if opened[1] > now}
        return len(self._opened)

    def free_port(self, wanted: int, now: float) -> int:
        """That one, if no mapping has it, else another one."""
        return wanted if wanted and self._is_free(wanted, now) else self._random_port(now)

    def _note_answer(self, inside: UdpAddress, remote: UdpAddress, port: int, now: float) -> int:
        self._answers.pop((inside, remote), None)
        self._answers[inside, remote] = (port, now + self.nat.lifetime)
        if len(self._answers) > MAX_ANSWERS:
            del self._answers[next(iter(self._answers))]
        return port

    def _of_flow(self, inside: UdpAddress, remote: UdpAddress, now: float) -> _Mapping | None:
        """The mapping that a stray has forced on this flow."""
        return self._alive(self._by_key.get(("flow", inside, remote)), now) if self.nat.admits_strays else None

    def _of_inside(self, inside: UdpAddress, remote: UdpAddress, now: float) -> _Mapping | None:
        key = (inside, self.nat.mapping.of(remote))
        found = self._alive(self._by_key.get(key), now)
        return found or self._make(key, inside, inside.port if self.nat.keeps_port else 0, now)

    def _make(self, key: Hashable, inside: UdpAddress, wanted: int, now: float) -> _Mapping | None:
        if now >= self._sweep_at or len(self._by_port) >= self.nat.max_mappings:
            self.expire(now)
            if len(self._by_port) >= self.nat.max_mappings:
                return None
        is_ours = bool(wanted) and self.opened(wanted, now) == inside and wanted not in self._by_port
        port = wanted if is_ours else self.free_port(wanted, now)
        mapping = self._by_key[key] = self._by_port[port] = _Mapping(key, inside, port)
        return mapping

    def expire(self, now: float) -> None:
        """Drop the mappings whose time is over; it happens by itself once a lifetime, and when there is no room."""
        for old in [mapping for mapping in self._by_port.values() if mapping.expires_at <= now]:
            self._drop(old)
        self._sweep_at = now + self.nat.lifetime

    def _random_port(self, now: float) -> int:
        while True:
            port = self._draw.randint(FIRST_PORT, LAST_PORT)
            if self._is_free(port, now):
                return port

    def _is_free(self, port: int, now: float) -> bool:
        return self.opened(port, now) is None and self._alive(self._by_port.get(port), now) is None

    def _alive(self, mapping: _Mapping | None, now: float) -> _Mapping | None:
        if mapping is not None and mapping.expires_at <= now:
            self._drop(mapping)
            return None
        return mapping

    def _drop(self, mapping: _Mapping) -> None:
        del self._by_key[mapping.key], self._by_port[mapping.port]

    def _stray(self, remote: UdpAddress, port: int, now: float) -> None:
        if self.nat.admits_strays:
            self._strays.pop((remote, port), None)
            self._strays[remote, port] = now + self.nat.lifetime
            if len(self._strays) > MAX_STRAYS:
                del self._strays[next(iter(self._strays))]

    def _is_stray(self, remote: UdpAddress, port: int, now: float) -> bool:
        return bool(self._strays) and self._strays.get((remote, port), 0.0) > now
