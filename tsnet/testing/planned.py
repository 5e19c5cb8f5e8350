"""The faults that a test plans at the control server of an embedded tailnet, each one a context manager.

    with tailnet.refuse("register", 429, retry_after=30): ...        over at the end of the block
    fault = tailnet.hold("map", node="shop")                         over with fault.remove()
    tailnet.drop("key", times=2)                                     over by itself

Source: none.
Not here: what each does to a request (`tsnet.control.server.faults`), faults of relays (`relays`) and of the network
(`wire`, `cable`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

from tsnet.base.wording import Wording, api
from tsnet.control.server.faults import KINDS, OMITS_FROM, Effect, Fault, Faults
from tsnet.errors import ConfigError
from tsnet.testing.administration import Administration


class ControlFault:
    """A fault that is planned until `remove`, or until the end of the block that it opens.

    met: how many requests have met it so far.
    """

    def __init__(self, fault: Fault, remove: Callable[[Fault], None]) -> None:
        self._fault = fault
        self._remove = remove

    @property
    def met(self) -> int:
        return self._fault.met

    def remove(self) -> None:
        """It is over: requests that it holds are served now. May be called twice."""
        if not self._fault.is_removed:
            self._remove(self._fault)

    def __enter__(self) -> ControlFault:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        fault = self._fault
        whose = f" of {fault.node}" if fault.node else ""
        return f"<ControlFault: {fault.effect.value} {fault.kind}{whose}, met {fault.met} times>"


class PlannedFaults(Administration):
    """The part of `Tailnet` that makes control answer late, wrongly or not at all.

    kind: "register", "map" (a stream of maps), "update" (what a node tells of itself), "key", "ts2021", "c2n",
    "set-dns", "id-token", … or "*" for all. node: the name of a node, or what a new one calls itself; "" is everybody,
    and "key" and "ts2021" are nobody's. times: for how many requests. The first fault that fits is the one that counts.
    """

    _faults: Faults

    @abstractmethod
    def _control_has_work(self) -> None:
        """Tell the control server that there is something to do."""

    def hold(self, kind: str, *, node: str = "", times: int | None = None) -> ControlFault:
        """Leave requests unanswered until the fault is removed, and serve them then."""
        return self._plan(Effect.HOLD, kind, node, times)

    def delay(self, kind: str, seconds: float, *, node: str = "", times: int | None = None) -> ControlFault:
        """Serve requests so many seconds later."""
        return self._plan(Effect.DELAY, kind, node, times, seconds=_checked("seconds", seconds))

    def drop(self, kind: str, *, node: str = "", times: int | None = None) -> ControlFault:
        """End the connections of requests, without an answer."""
        return self._plan(Effect.DROP, kind, node, times)

    def refuse(
        self,
        kind: str,
        status: int = 503,
        *,
        retry_after: float | None = None,
        node: str = "",
        times: int | None = None,
    ) -> ControlFault:
        """Answer requests with an HTTP status such as 429 or 503. retry_after: seconds, for the Retry-After header."""
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
            raise ConfigError(Wording(api("status="), f" takes a number from 400 to 599, not {status!r}"))
        wait = None if retry_after is None else _checked("retry_after", retry_after)
        return self._plan(Effect.REFUSE, kind, node, times, status=status, retry_after=wait)

    def garble(self, kind: str, *, node: str = "", times: int | None = None) -> ControlFault:
        """Answer requests with status 200 and half a JSON object."""
        return self._plan(Effect.GARBLE, kind, node, times)

    def omit(self, kind: str, *fields: str, node: str = "", times: int | None = None) -> ControlFault:
        """Serve requests, and leave these fields of the answer out: `tailnet.omit("map", "Node")`.

        kind: "register", "map", "key" or "id-token". Every message of a map stream lacks the fields.
        """
        if kind not in OMITS_FROM:
            raise ConfigError(f"the answers to {kind!r} have no fields: use {', '.join(sorted(OMITS_FROM))}")
        if not fields or not all(isinstance(field, str) and field for field in fields):
            raise ConfigError("the fields that an answer lacks have names, as Node or DERPMap")
        return self._plan(Effect.OMIT, kind, node, times, fields=fields)

    def remove_faults(self) -> None:
        """All planned faults are over."""

        def remove() -> None:
            self._faults.remove_all()
            self._control_has_work()

        self._do(remove)

    def _plan(self, effect: Effect, kind: str, node: str, times: int | None, **more: object) -> ControlFault:
        if kind not in KINDS:
            raise ConfigError(f"control is not asked for {kind!r}: use {', '.join(sorted(KINDS))}")
        if not isinstance(node, str):
            raise ConfigError(Wording(api("node="), f" takes a name, not {type(node).__name__}"))
        if isinstance(times, float):
            raise ConfigError(Wording(api("times="), f" takes a whole number, not {times!r}"))
        limit = math.inf if times is None else _checked("times", times)
        fault = Fault(effect, kind, node, limit, **more)  # type: ignore[arg-type]
        return ControlFault(self._do(lambda: self._faults.plan(fault)), self._end_fault)

    def _end_fault(self, fault: Fault) -> None:
        def remove() -> None:
            self._faults.remove(fault)
            self._control_has_work()

        self._do(remove)


def _checked(option: str, value: object) -> float:
    """A number that is not negative. Raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(Wording(api(f"{option}="), f" takes a number, 0 or more, not {value!r}"))
    return value
