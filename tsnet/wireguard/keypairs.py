"""The sessions with one peer, and how they change places. We send with `current` only, and receive with all of them.

| event                                 | next | current | previous, the newest first |
|---------------------------------------|------|---------|----------------------------|
| we responded                          | new  |         |                            |
| the first packet came through `next`  | -    | next    | current, previous          |
| we initiated, the response came       | -    | new     | next, current, previous    |

An empty cell means that the slot stays as it is. Until the initiator's first packet comes, the responder cannot know
that its response arrived, so it still sends with `current`.

The paper keeps one previous session. We keep up to MAX_PREVIOUS, each until it expires. When both sides initiate at
once, each derives two sessions while the other still sends with an old one, until a packet of a new session confirms
it. If they initiated at once before, there are two old sessions as well, one for each direction. All four are kept, so
that no packet in flight is lost, in whatever order packets arrive. (Go and Linux forget the old session at the second
derivation, and lose what comes by it.)

Each method returns the sessions that are no longer kept, whose indices the caller releases.

Source: WireGuard §6; wireguard-go device/noise-protocol.go BeginSymmetricSession, ReceivedWithKeypair.
"""

from __future__ import annotations

from tsnet.wireguard.session import Session

MAX_PREVIOUS = 3


class Keypairs:
    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.next: Session | None = None
        self.current: Session | None = None
        self.previous: list[Session] = []

    def all(self) -> list[Session]:
        """All sessions: `next`, `current`, then the previous ones, the newest first."""
        return [*_present(self.next, self.current), *self.previous]

    def responded(self, session: Session, now: float) -> list[Session]:
        """A `next` that was never confirmed is not kept: the initiator has begun anew."""
        out = _present(self.next)
        self.next = session
        return out + self._retire([], now)

    def confirmed(self, now: float) -> list[Session]:
        out = self._retire(_present(self.current), now)
        self.current, self.next = self.next, None
        return out

    def initiated(self, session: Session, now: float) -> list[Session]:
        out = self._retire(_present(self.next, self.current), now)
        self.current, self.next = session, None
        return out

    def clear(self) -> list[Session]:
        out = self.all()
        self.next = self.current = None
        self.previous = []
        return out

    def _retire(self, sessions: list[Session], now: float) -> list[Session]:
        """Make them previous sessions. Returns those that have expired, or for which there is no place."""
        held = [*sessions, *self.previous]
        self.previous = [session for session in held if now < session.expires_at][:MAX_PREVIOUS]
        return [session for session in held if session not in self.previous]


def _present(*sessions: Session | None) -> list[Session]:
    return [session for session in sessions if session is not None]
