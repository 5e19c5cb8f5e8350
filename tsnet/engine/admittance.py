"""Whether control lets this node run. Running is told once, and again after an expiry or a refusal.

| control says           | the node                                              |
|------------------------|-------------------------------------------------------|
| a netmap, the first    | runs                                                  |
| the key has expired    | opens nothing more                                    |
| the key is good again  | runs again                                            |
| no                     | is refused, until it is accepted or its key is new    |
| it has logged out      | is refused in the same way, and has no netmap         |

Source: Go ipn/ipnlocal/local.go (nextStateLocked).
Not here: what an application sees of it (`lifecycle`), what control has said (`control.client.facts`).
"""

from __future__ import annotations

from tsnet.base.trace import Trace
from tsnet.base.wording import Wording, api
from tsnet.engine import facts
from tsnet.errors import KeyExpired
from tsnet.netmap.model import NetMap


class Admittance:
    """has_run: whether Running was ever told. told: where facts are added."""

    def __init__(self, told: list[facts.Fact], *, trace: Trace | None = None) -> None:
        self.has_run: bool = False
        self._trace = trace
        self._runs = self._is_expired = self._is_refused = False
        self._told = told

    def accepted(self) -> None:
        self._is_refused = False

    def refused(self) -> None:
        self._runs, self._is_refused = False, True
        self._say("refused by control")

    def logged_out(self) -> None:
        """It begins anew, should it log in again."""
        self.refused()
        self.has_run = False

    def expired(self, error: KeyExpired) -> None:
        self._is_expired, self._runs = True, False
        self._say("key expired")
        self._told += [facts.Problem(error, fatal=False), facts.Expired(error)]

    def valid_again(self, netmap: NetMap | None) -> None:
        """The key is no longer expired, or another one has taken its place. netmap: the latest."""
        self._is_expired = self._is_refused = False
        if self.has_run:  # else the netmap that follows tells it
            self.tell_if_running(netmap)

    def tell_if_running(self, netmap: NetMap | None) -> None:
        if netmap is not None and not (self._runs or self._is_expired or self._is_refused):
            self._runs = self.has_run = True
            self._say("running")
            self._told.append(facts.Running(netmap))

    def _say(self, event: str) -> None:
        if self._trace is not None:
            self._trace(event)


def key_expired(hostname: str, control_url: str) -> KeyExpired:
    return KeyExpired(
        Wording(
            f"the key of {hostname} has expired at {control_url}: extend it at control, or log the node in again",
            api("login()", before=" with "),
        )
    )
