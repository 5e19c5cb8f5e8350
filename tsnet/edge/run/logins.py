"""Who waits for a login or a logout, which begin as soon as the node is there, wherever it is on its way.

    log_in  ─► node.login  ─► LoginEnded ─► done, or control's error      LoginUrl, and nobody is there ─► NeedsLogin
                                         └► needs-approval ─► done once it is approved of, NeedsApproval if that is late
    log_out ─► node.logout ─► LoggedOut, once the forgotten identity is saved ─► done

A call that is cancelled or late leaves the node at it: a login goes on, a logout is tried until control has answered.
A login ends the logout before it, and whoever waits for that. Of several logins the last one counts: it has taken the
others' place, and whoever asked for one of them waits for its end.

Not here: what a login asks of control (`control.client.login`), the states (`engine.lifecycle`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from tsnet.edge.pipes.operations import Operation
from tsnet.edge.run.pump import Pump
from tsnet.edge.run.waiting import Loop, Waiting
from tsnet.engine.lifecycle import Lifecycle, News, State
from tsnet.errors import ControlTimeout, Error

AT_CONTROL = frozenset({State.EXPIRED, State.FAILED, State.LOGGED_OUT})
"""Where a login without a key asks control for another one; elsewhere the node is logged in, or on the way."""


class Logins:
    """All methods in the node's thread."""

    def __init__(self, loop: Loop, life: Lifecycle) -> None:
        self._life = life
        self._coming, self._in, self._out = Waiting(loop), Waiting(loop), Waiting(loop)
        self._latest = 0
        self._awaits_approval = False

    def when_there(
        self,
        operation: Operation[None],
        until: float,
        begin: Callable[[], object],
        too_late: Callable[[], Error],
    ) -> None:
        """Call `begin` once there is a node; `settle` says so."""
        self._coming.add(operation, until, begin, too_late)

    def log_in(self, operation: Operation[None], pump: Pump, auth_key: str, until: float, limit: float) -> None:
        self._life.told(News.LOGIN_BEGUN)
        self._out.fail(ControlTimeout(f"{self._life.hostname} logs in again, before control confirmed its logout"))
        self._latest, self._awaits_approval = pump.node.login(auth_key, pump.now()), False
        pump.mark()
        late = functools.partial(self._life.too_late, limit, "waiting for control to accept the login")
        self._in.add(operation, until, lambda: operation.resolve(None), late)

    def log_out(self, operation: Operation[None], pump: Pump, until: float, limit: float) -> None:
        if self._life.state is State.LOGGED_OUT:
            operation.resolve(None)
            return
        now = pump.now()
        pump.node.logout(now, now + max(until - now, 0.0) / 2)
        pump.mark()
        self._out.add(operation, until, lambda: operation.resolve(None), lambda: self._not_confirmed(limit))

    def ended(self, number: int, error: Error | None) -> None:
        """The login of that number has ended. Nobody waits for one that is not the last any more."""
        if number != self._latest:
            return
        if error is not None:
            self._in.fail(error)
            return
        self._life.logged_in()
        self._awaits_approval = self._life.state is State.NEEDS_APPROVAL
        if not self._awaits_approval:
            self._in.release()

    def settle(self, *, is_there: bool) -> None:
        """Whoever waits is told what the node's state means for them."""
        life, refusal = self._life, self._life.refusal()
        if refusal is not None and (life.is_over or not is_there):
            self._coming.fail(refusal)  # also where it is still there: a login would undo how it ends
            self._out.fail(refusal)
        elif is_there:
            self._coming.release()
        if self._awaits_approval and life.is_running:
            self._awaits_approval = False
            self._in.release()
        if (needs := life.login_refusal()) is not None:
            self._in.fail(needs)
        if life.state is State.LOGGED_OUT:
            self._out.release()

    def _not_confirmed(self, limit: float) -> Error:
        return self._life.trouble or ControlTimeout(
            f"control did not confirm within {limit:g} s that {self._life.hostname} is logged out: it is asked again "
            "for as long as the node is there"
        )
