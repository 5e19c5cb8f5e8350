"""A node's life: its states, what moves it from one to another, and what those who wait for it are told.

| state       | what it means                                    | those who wait                 | a new `up()`    |
|-------------|--------------------------------------------------|--------------------------------|-----------------|
| stopped     | nobody has asked for it yet                      | -                              | starts it       |
| starting    | on the way to its first netmap                   | wait on                        | waits           |
| needs-login | a person must visit `login_url`                  | NeedsLogin, unless somebody    | the same        |
|             |                                                  | was shown the URL              |                 |
| needs-      | an administrator of the tailnet must approve of  | wait on; NeedsApproval in the  | waits           |
|   approval  | the node                                         | end, for a dial at once        |                 |
| running     | names, addresses and peers are known             | go on                          | returns at once |
| expired     | control says that the key has expired            | KeyExpired                     | the same        |
| logged-out  | the application has logged it out                | NeedsLogin                     | the same        |
| failed      | control has refused it, or it broke              | the error that says why        | tries again     |
| closing     | streams end, an ephemeral node logs out          | NotUp                          | NotUp           |
| closed      | it is over                                       | NotUp                          | NotUp           |

An error is kept no longer than its state. A node that was expired, refused or broken runs again when the cause has
gone; only `closed` is for ever.

Not here: threads and ports (`edge.run.handle`), what control says (`control.client`).
"""

from __future__ import annotations

from enum import Enum, StrEnum

from tsnet.base.wording import Wording, api
from tsnet.errors import Error, KeyExpired, NeedsLogin, NotUp, UpTimeout


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    NEEDS_LOGIN = "needs-login"
    NEEDS_APPROVAL = "needs-approval"
    RUNNING = "running"
    EXPIRED = "expired"
    LOGGED_OUT = "logged-out"
    FAILED = "failed"
    CLOSING = "closing"
    CLOSED = "closed"


class News(Enum):
    """What can happen to a node."""

    STARTED = "somebody wants it up"
    LOGIN_BEGUN = "its application logs it in anew"
    LOGGED_OUT = "its application has logged it out"
    LOGIN_WANTED = "control wants a person to log it in"
    APPROVAL_WANTED = "control wants an administrator to approve of it"
    RUNNING = "it has a netmap and a valid key"
    EXPIRED = "its key has expired"
    REFUSED = "control said no, and waiting cannot help"
    LOST = "its thread or its ports are gone, or it could not begin"
    CLOSING = "its application lets it go"
    CLOSED = "nothing of it is left"


_ANYWHERE = {News.CLOSING: State.CLOSING, News.CLOSED: State.CLOSED}
_ALIVE = {
    News.LOGIN_WANTED: State.NEEDS_LOGIN,
    News.APPROVAL_WANTED: State.NEEDS_APPROVAL,
    News.RUNNING: State.RUNNING,
    News.EXPIRED: State.EXPIRED,
    News.REFUSED: State.FAILED,
    News.LOST: State.FAILED,
    News.LOGIN_BEGUN: State.STARTING,
    News.LOGGED_OUT: State.LOGGED_OUT,
    **_ANYWHERE,
}

TABLE: dict[State, dict[News, State]] = {
    State.STOPPED: {News.STARTED: State.STARTING, **_ANYWHERE},
    State.STARTING: _ALIVE,
    State.NEEDS_LOGIN: {**_ALIVE, News.EXPIRED: State.NEEDS_LOGIN},  # a login is the way out of an expiry
    State.NEEDS_APPROVAL: {
        **_ALIVE,
        News.LOGIN_WANTED: State.NEEDS_APPROVAL,  # it is logged in by its present key
        News.LOGIN_BEGUN: State.NEEDS_APPROVAL,
    },
    State.RUNNING: {**_ALIVE, News.LOGIN_WANTED: State.RUNNING, News.LOGIN_BEGUN: State.RUNNING},  # by its present key
    State.EXPIRED: _ALIVE,
    State.LOGGED_OUT: {News.LOGIN_BEGUN: State.STARTING, News.LOST: State.FAILED, **_ANYWHERE},
    State.FAILED: {**_ALIVE, News.STARTED: State.STARTING},
    State.CLOSING: {News.CLOSED: State.CLOSED, News.LOST: State.CLOSED},
    State.CLOSED: {},
}
"""The next state, by state and news. News that a state does not list leaves the node in that state."""

OVER = frozenset({State.CLOSING, State.CLOSED})


class Lifecycle:
    """The life of one node. Its owner reports what happens, and asks what follows from it.

    login_url: where a person must go, "" if nowhere. trouble: what keeps the node from starting now, if it may pass.
    hostname: what those who wait, and the log, know the node by.
    """

    def __init__(self, hostname: str, control_url: str) -> None:
        self.state: State = State.STOPPED
        self.login_url: str = ""
        self.trouble: Error | None = None
        self.hostname = hostname
        self._control_url = control_url
        self._failure: Error | None = None
        self._somebody_is_there = False

    # --- what happens ---------------------------------------------------------------------------------------

    def told(self, news: News, error: Error | None = None) -> None:
        """Move to the state that this news leads to. error: why, with APPROVAL_WANTED, REFUSED, EXPIRED and LOST."""
        before = self.state
        self.state = TABLE[before].get(news, before)
        if error is not None:
            self._failure = error
        if news is News.LOGIN_BEGUN:
            self.login_url = ""
        if news is News.EXPIRED and self.state is State.NEEDS_LOGIN:
            self.trouble = None  # whichever of the two was told first: what is missing is the person
        has_begun = self.state is State.STARTING and before is not State.STARTING
        if has_begun or (self.state is State.RUNNING and news is News.RUNNING):
            self.login_url, self._failure, self.trouble = "", None, None

    def login_wanted(self, url: str, somebody_is_there: bool) -> None:
        """A person must visit `url`. somebody_is_there: a callback or a terminal was shown it, so waiting may help."""
        self.told(News.LOGIN_WANTED)
        self.login_url, self._somebody_is_there, self.trouble = url, somebody_is_there, None  # control answers

    def logged_in(self) -> None:
        """A login that was asked for has ended well, of a node that may have run meanwhile."""
        self.login_url = ""

    def troubled(self, error: Error) -> bool:
        """Note a trouble that may pass. Returns whether it differs from the last one."""
        is_new = str(error) != str(self.trouble)
        self.trouble = error
        return is_new

    def is_well(self) -> None:
        """The trouble has passed."""
        self.trouble = None

    # --- what that means ------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def is_over(self) -> bool:
        """Whether the application has closed the node. Nothing brings it back."""
        return self.state in OVER

    @property
    def has_failed(self) -> bool:
        """Whether the node does nothing more until somebody wants it up again."""
        return self.state is State.FAILED

    @property
    def may_be_outdated(self) -> bool:
        """Whether control may have changed its mind: somebody who wants the node up makes it ask control again."""
        return self.state in (State.EXPIRED, State.NEEDS_LOGIN)

    @property
    def can_start(self) -> bool:
        """Whether a wish to have the node up makes it begin, or begin again."""
        return News.STARTED in TABLE[self.state]

    def refusal(self) -> Error | None:
        """The error that those who wait get at once. None: the node runs, or waiting may still help."""
        match self.state:
            case State.NEEDS_LOGIN if not self._somebody_is_there:
                return self._needs_login()
            case State.EXPIRED:
                return self._failure or KeyExpired(f"the node key of {self.hostname} has expired")
            case State.LOGGED_OUT:
                return logged_out(self.hostname, self._control_url)
            case State.FAILED:
                return self._failure or NotUp("the node has failed")
            case State.CLOSING:
                return NotUp("the node is closing")
            case State.CLOSED:
                return NotUp("the node was closed: create a new Server to join again")
        return None

    def dial_refusal(self) -> Error | None:
        """As `refusal`, for those who want to reach a peer: an approval may take days."""
        return self._failure if self.state is State.NEEDS_APPROVAL else self.refusal()

    def login_refusal(self) -> Error | None:
        """The error that those who wait for a login get at once: the node may run by its old key meanwhile."""
        if self.login_url and not self._somebody_is_there:
            return self._needs_login()
        return self.refusal()

    def too_late(self, timeout: float, waiting_for: str) -> Error:
        """The error for somebody whose `timeout` (seconds) has passed. waiting_for: `Node.waiting_for`."""
        if self.state is State.NEEDS_APPROVAL and self._failure is not None and not self.login_url:
            return self._failure
        if self.trouble is not None:
            return self.trouble
        if self.login_url:
            return self._nobody_came(timeout)
        return UpTimeout(
            Wording(
                f"{self.hostname} was {self.state.value} but not done after {timeout:g} s, {waiting_for}: "
                "check the network between this machine and control, or allow more time with ",
                api("timeout="),
            )
        )

    def not_reachable(self, timeout: float, because: str) -> Error:
        """The error for somebody who has waited `timeout` seconds for the peers' way to this node."""
        return self.trouble or UpTimeout(
            Wording(
                f"{self.hostname} runs, but peers could not reach it within {timeout:g} s: {because}",
                api("status().health", before="; see "),
                ", or allow more time with ",
                api("timeout="),
            )
        )

    def _needs_login(self) -> Error:
        return NeedsLogin(
            Wording(
                f"control at {self._control_url} wants a person to log this node in: visit {self.login_url}, or pass ",
                api("auth_key="),
                " (TS_AUTHKEY)",
                api("on_auth_url=", before=", or ", after=" to be handed the URL and wait"),
            ),
            self.login_url,
        )

    def _nobody_came(self, timeout: float) -> Error:
        return NeedsLogin(
            Wording(
                f"nobody logged the node in within {timeout:g} s: visit {self.login_url} and start it again, or pass ",
                api("auth_key="),
                " (TS_AUTHKEY)",
            ),
            self.login_url,
        )


def logged_out(hostname: str, control_url: str) -> NeedsLogin:
    return NeedsLogin(
        Wording(f"{hostname} was logged out of {control_url}: log it in again", api("login()", before=" with ")),
        "",
    )
