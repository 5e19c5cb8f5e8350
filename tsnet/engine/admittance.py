"""Whether control lets this node run. Running is told once, and again after an expiry, a refusal, or an approval.

| control says                         | the node                                              |
|--------------------------------------|-------------------------------------------------------|
| a netmap, the first                  | runs                                                  |
| the same, of a node not approved of  | opens nothing: ApprovalPending, until a netmap says   |
|                                      | that it is; also when an approval is taken back       |
| the key has expired                  | opens nothing more; whether it is approved of does    |
|                                      | not matter then (Headscale says no of every expired)  |
| the key is good again                | runs again                                            |
| no                                   | is refused, until it is accepted or its key is new    |
| it has logged out                    | is refused in the same way, and has no netmap         |

The answer to a registration may say first that the node is not approved of. Once there is a netmap, that alone decides.

Source: Go ipn/ipnlocal/local.go (nextStateLocked): NeedsMachineAuth comes behind an expiry.
Not here: what an application sees of it (`lifecycle`), what control has said (`control.client.facts`).
"""

from __future__ import annotations

from tsnet.base.trace import Trace
from tsnet.base.wording import Wording, api
from tsnet.config import DEFAULT_CONTROL_URL
from tsnet.engine import facts
from tsnet.errors import Error, KeyExpired, NeedsApproval
from tsnet.netmap.model import NetMap

ADMIN_CONSOLE = "https://login.tailscale.com/admin/machines"


class Admittance:
    """has_run: whether Running was ever told. told: where facts are added.

    refusal: why nothing may be opened, as far as an expiry or an approval goes; None if it may.
    """

    def __init__(self, told: list[facts.Fact], *, trace: Trace | None = None) -> None:
        self.has_run: bool = False
        self._trace = trace
        self._runs = self._is_refused = False
        self._expiry: KeyExpired | None = None
        self._approval: NeedsApproval | None = None
        self._is_pending = False  # ApprovalPending was told, and nothing else since
        self._told = told

    @property
    def refusal(self) -> Error | None:
        return self._expiry or self._approval

    def accepted(self) -> None:
        self._is_refused = False

    def refused(self) -> None:
        self._runs, self._is_refused, self._is_pending = False, True, False
        self._say("refused by control")

    def logged_out(self) -> None:
        """It begins anew, should it log in again."""
        self.refused()
        self.has_run, self._approval = False, None

    def expired(self, error: KeyExpired) -> None:
        self._expiry, self._runs, self._is_pending = error, False, False
        self._say("key expired")
        self._told += [facts.Problem(error, fatal=False), facts.Expired(error)]

    def valid_again(self, netmap: NetMap | None) -> None:
        """The key is no longer expired, or another one has taken its place. netmap: the latest, behind which one
        follows that says whether the node is approved of."""
        self._expiry, self._is_refused = None, False
        if self.has_run and netmap is not None and netmap.self_node.machine_authorized:
            self._run(netmap)  # else the netmap that follows tells it

    def judge(self, netmap: NetMap, error: NeedsApproval) -> None:
        """A netmap is in force. error: to be told if it says that nobody has approved of this node."""
        if netmap.self_node.machine_authorized:
            self._approval, self._is_pending = None, False
            self._run(netmap)
        else:
            self.unapproved(error)

    def unapproved(self, error: NeedsApproval) -> None:
        if self._expiry is not None or self._is_refused:
            return
        self._approval, self._runs = error, False
        if not self._is_pending:
            self._is_pending = True
            self._say("not approved of")
            self._told.append(facts.ApprovalPending(error))

    def _run(self, netmap: NetMap) -> None:
        if not (self._runs or self._expiry is not None or self._is_refused):
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


def needs_approval(hostname: str, control_url: str) -> NeedsApproval:
    place = f" ({ADMIN_CONSOLE})" if control_url == DEFAULT_CONTROL_URL else ""
    return NeedsApproval(
        f"{hostname} is logged in at {control_url}, but an administrator of the tailnet must approve of it: choose it "
        f"among the machines of the admin console{place} and approve it there. It goes on by itself then. A "
        "preauthorized auth key spares a new node the wait."
    )
