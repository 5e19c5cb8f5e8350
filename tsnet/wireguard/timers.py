"""The timers of one peer: a table of instants, and the events that move them.

| slot             | armed by                      | after                            | when it is due            |
|------------------|-------------------------------|----------------------------------|---------------------------|
| retransmit_at    | initiation sent               | EARLY_RETRIES, else 5 s + jitter | initiate again            |
|                  | initiation held for the mark  | REKEY_TIMEOUT; `mark_saved`      | initiate                  |
| give_up_at       | a handshake is wanted         | REKEY_ATTEMPT_TIME               | stop, drop what is staged |
| keepalive_at     | data received                 | KEEPALIVE_TIMEOUT                | answer with a keepalive   |
| new_handshake_at | data sent                     | NEW_HANDSHAKE_TIME + jitter      | no answer came: initiate  |
| persistent_at    | anything authentic, both ways | the interval; at once if new     | keepalive, unasked        |
| wipe_at          | session derived               | WIPE_TIME                        | forget all keys           |

A slot is inf when it is not armed. `deadline()` is the earliest of them.

Source: WireGuard §6.2-6.5; wireguard-go device/timers.go.
Not here: what happens when a timer is due (`peer`).
"""

from __future__ import annotations

import math

from tsnet.wireguard.constants import (
    EARLY_RETRIES,
    KEEPALIVE_TIMEOUT,
    NEW_HANDSHAKE_TIME,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
    RETRY_GAP,
    WIPE_TIME,
)

TIMERS = ("wipe_at", "give_up_at", "retransmit_at", "new_handshake_at", "keepalive_at", "persistent_at")
"""The order in which timers are served that are due at once."""


class Timers:
    __slots__ = (*TIMERS, "_is_held", "_keepalive_again", "_series_from", "interval", "restarted_time")

    def __init__(self, interval: float | None = None) -> None:
        self.wipe_at: float = math.inf
        self.give_up_at: float = math.inf
        self.retransmit_at: float = math.inf
        self.new_handshake_at: float = math.inf
        self.keepalive_at: float = math.inf
        self.interval: float = math.inf if interval is None else interval
        self.persistent_at: float = math.inf if interval is None else -math.inf  # the first one makes the session
        self._keepalive_again = False
        self._is_held = False  # whether `retransmit_at` is for an initiation that waits for the time stamps' mark
        self._series_from = -math.inf  # when the first initiation of the present series went out
        self.restarted_time: float = math.inf
        """When another path began the present series; inf if it was something else."""

    def deadline(self) -> float:
        return min(
            self.wipe_at,
            self.give_up_at,
            self.retransmit_at,
            self.new_handshake_at,
            self.keepalive_at,
            self.persistent_at,
        )

    def why(self) -> str:
        """The name of the slot that is due first; "" if none is armed."""
        name = min(TIMERS, key=lambda slot: getattr(self, slot))
        return name if getattr(self, name) < math.inf else ""

    # --- handshakes -----------------------------------------------------------------------------------------

    @property
    def is_initiating(self) -> bool:
        """Whether an initiation is out, or waits for its time."""
        return self.retransmit_at < math.inf

    def handshake_wanted(self, now: float) -> None:
        """There is traffic for the peer, or a reason for a new session: REKEY_ATTEMPT_TIME starts anew."""
        self.give_up_at = now + REKEY_ATTEMPT_TIME

    def initiation_sent(self, now: float, jitter: float, *, early: bool, round_trip: float = 0.0) -> None:
        """Plan the next retry. early: the peer has never answered, so the first retries come soon, but those that would
        come before an answer can."""
        self._is_held = False
        if not self.is_in_series:
            self._series_from = now
        for after in EARLY_RETRIES if early else ():
            if self._series_from + after >= now + max(RETRY_GAP, round_trip):
                self.retransmit_at = self._series_from + after
                return
        self.retransmit_at = now + REKEY_TIMEOUT + jitter

    def initiation_held(self, now: float) -> None:
        """Hold an initiation until a mark is saved; after REKEY_TIMEOUT the mark is asked for again."""
        self._is_held = True
        self.retransmit_at = now + REKEY_TIMEOUT

    def initiation_released(self, now: float) -> None:
        """Make an initiation that was held for the mark due now."""
        if self._is_held:
            self.retransmit_at = min(self.retransmit_at, now)

    def initiation_put_off(self, until: float) -> None:
        """Put our initiation off: the peer's handshake, which we have answered, will do as well."""
        self._is_held = False
        self.retransmit_at = max(self.retransmit_at, until)

    @property
    def is_in_series(self) -> bool:
        return self._series_from > -math.inf

    def series_ended(self) -> None:
        """A handshake completed, was given up, or is to start over: the next initiation begins a series."""
        self.retransmit_at = math.inf
        self._is_held = False
        self._series_from = -math.inf
        self.restarted_time = math.inf

    def restart(self, at: float, now: float) -> None:
        """Begin the series anew, at that time: there is another path."""
        self.series_ended()
        self.retransmit_at = at
        self.restarted_time = now

    def handshake_completed(self) -> None:
        """A handshake is complete: for the initiator with the response, for the responder with the first packet."""
        self.series_ended()
        self.give_up_at = math.inf

    def session_derived(self, now: float) -> None:
        self.wipe_at = now + WIPE_TIME

    # --- traffic --------------------------------------------------------------------------------------------

    def data_sent(self, now: float, jitter: float) -> None:
        """We sent data, which the peer must answer. Call this after `authenticated_sent`."""
        if self.new_handshake_at == math.inf:
            self.new_handshake_at = now + NEW_HANDSHAKE_TIME + jitter

    def data_received(self, now: float) -> None:
        """The peer sent data, which we must answer. While the timer runs, only a flag is set: a stream costs little."""
        if self.keepalive_at == math.inf:
            self.keepalive_at = now + KEEPALIVE_TIMEOUT
        else:
            self._keepalive_again = True

    def keepalive_came(self, now: float) -> None:
        """`keepalive_at` was due. It is armed again if more data came meanwhile."""
        self.keepalive_at = now + KEEPALIVE_TIMEOUT if self._keepalive_again else math.inf
        self._keepalive_again = False

    def authenticated_sent(self, now: float) -> None:
        """We sent a message that the peer can authenticate: data, keepalive or handshake."""
        self.keepalive_at = math.inf
        self.persistent_at = now + self.interval

    def authenticated_received(self, now: float) -> None:
        """We have authenticated a message of the peer."""
        self.new_handshake_at = math.inf
        self.persistent_at = now + self.interval
