"""A node's life: the states, what moves a node from one to another, and what whoever waits for it is told.

| state       | what it means                                    | whoever waits                  | a new `up()`    |
|-------------|--------------------------------------------------|--------------------------------|-----------------|
| stopped     | nobody has asked for it yet                      | -                              | starts it       |
| starting    | on the way to its first netmap                   | goes on waiting                | waits           |
| needs-login | a person must visit `login_url`                  | NeedsLogin, unless somebody is | the same        |
|             |                                                  | there who will visit it        |                 |
| running     | names, addresses and peers are known             | may go on                      | returns at once |
| expired     | control says that the key has expired            | KeyExpired                     | the same        |
| failed      | control has refused it, or it broke              | the error that says why        | tries again     |
| closing     | streams end, an ephemeral node logs out          | NotUp                          | NotUp           |
| closed      | it is over                                       | NotUp                          | NotUp           |

An error is never kept for longer than its state: a node that was expired, refused or broken runs again when the cause
has gone, and only `closed` is for ever.

Not here: threads and ports (`edge.run.handle`), what control says (`control.client`).
"""

from __future__ import annotations

from enum import Enum, StrEnum

from tsnet.errors import Error, KeyExpired, NeedsLogin, NotUp, UpTimeout


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    NEEDS_LOGIN = "needs-login"
    RUNNING = "running"
    EXPIRED = "expired"
    FAILED = "failed"
    CLOSING = "closing"
    CLOSED = "closed"


class News(Enum):
    """What can happen to a node."""

    STARTED = "somebody wants it up"
    LOGIN_WANTED = "control wants a person to log it in"
    RUNNING = "it has a netmap and a valid key"
    EXPIRED = "its key has expired"
    REFUSED = "control said no, and waiting cannot help"
    LOST = "its thread or its ports are gone, or it could not begin"
    CLOSING = "its application lets it go"
    CLOSED = "nothing of it is left"


_ANYWHERE = {News.CLOSING: State.CLOSING, News.CLOSED: State.CLOSED}
_ALIVE = {
    News.LOGIN_WANTED: State.NEEDS_LOGIN,
    News.RUNNING: State.RUNNING,
    News.EXPIRED: State.EXPIRED,
    News.REFUSED: State.FAILED,
    News.LOST: State.FAILED,
    **_ANYWHERE,
}

TABLE: dict[State, dict[News, State]] = {
    State.STOPPED: {News.STARTED: State.STARTING, **_ANYWHERE},
    State.STARTING: _ALIVE,
    State.NEEDS_LOGIN: {**_ALIVE, News.EXPIRED: State.NEEDS_LOGIN},  # the login that waits is the way out of it
    State.RUNNING: _ALIVE,
    State.EXPIRED: _ALIVE,
    State.FAILED: {**_ALIVE, News.STARTED: State.STARTING},
    State.CLOSING: {News.CLOSED: State.CLOSED, News.LOST: State.CLOSED},
    State.CLOSED: {},
}
"""The next state; news that a state does not name changes nothing in it."""

OVER = frozenset({State.CLOSING, State.CLOSED})


class Lifecycle:
    """The life of one node, as its owner tells it.

    state: now. login_url: where a person must go, "" if nowhere. trouble: what stands in the way at present.
    """

    def __init__(self, hostname: str, control_url: str) -> None:
        self.state = State.STOPPED
        self.login_url = ""
        self.trouble: Error | None = None
        self._hostname, self._control_url = hostname, control_url
        self._failure: Error | None = None
        self._somebody_is_there = False

    # --- what happens ---------------------------------------------------------------------------------------

    def told(self, news: News, error: Error | None = None) -> None:
        """error: why, for REFUSED, EXPIRED and LOST."""
        before = self.state
        self.state = TABLE[before].get(news, before)
        if error is not None:
            self._failure = error
        if self.state is State.RUNNING or (self.state is State.STARTING and before is not State.STARTING):
            self.login_url, self._failure, self.trouble = "", None, None

    def login_wanted(self, url: str, somebody_is_there: bool) -> None:
        """somebody_is_there: a callback or a terminal was shown the URL, so that waiting may help."""
        self.told(News.LOGIN_WANTED)
        self.login_url, self._somebody_is_there, self.trouble = url, somebody_is_there, None  # control answers

    def troubled(self, error: Error) -> bool:
        """Something stands in the way that may pass. Returns whether it is another trouble than the last one."""
        is_new = str(error) != str(self.trouble)
        self.trouble = error
        return is_new

    def is_well(self) -> None:
        """What stood in the way has passed."""
        self.trouble = None

    # --- what that means ------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def is_over(self) -> bool:
        """Whether the application has let it go: nothing brings it back."""
        return self.state in OVER

    @property
    def has_failed(self) -> bool:
        """Whether nothing happens any more until somebody wants it up again."""
        return self.state is State.FAILED

    @property
    def may_be_outdated(self) -> bool:
        """Whether control may think otherwise by now, so that somebody who wants it up makes it ask again."""
        return self.state in (State.EXPIRED, State.NEEDS_LOGIN)

    @property
    def can_start(self) -> bool:
        """Whether somebody who wants it up makes it begin, or begin again."""
        return News.STARTED in TABLE[self.state]

    def refusal(self) -> Error | None:
        """What whoever waits is told at once. None: it runs, or waiting may still help."""
        match self.state:
            case State.NEEDS_LOGIN if not self._somebody_is_there:
                return self._needs_login()
            case State.EXPIRED:
                return self._failure or KeyExpired(f"the node key of {self._hostname} has expired")
            case State.FAILED:
                return self._failure or NotUp("the node has failed")
            case State.CLOSING:
                return NotUp("the node is closing")
            case State.CLOSED:
                return NotUp("the node was closed: create a new Server to join again")
        return None

    def too_late(self, timeout: float, waiting_for: str) -> Error:
        """What whoever has waited for as long as they would is told."""
        if self.trouble is not None:
            return self.trouble
        if self.login_url:
            return self._nobody_came(timeout)
        return UpTimeout(
            f"{self._hostname} was {self.state.value} but not done after {timeout:g} s, {waiting_for}: "
            "check the network between this machine and control, or allow more time with timeout="
        )

    def _needs_login(self) -> Error:
        return NeedsLogin(
            f"control at {self._control_url} wants a person to log this node in: visit {self.login_url}, "
            "or pass auth_key= (TS_AUTHKEY), or on_auth_url= to be handed the URL and wait",
            self.login_url,
        )

    def _nobody_came(self, timeout: float) -> Error:
        return NeedsLogin(
            f"nobody logged the node in within {timeout:g} s: visit {self.login_url} and start it again, "
            "or pass auth_key= (TS_AUTHKEY)",
            self.login_url,
        )
