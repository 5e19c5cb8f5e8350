"""The sessions with one peer, and how they move up. We send with `current` only, and receive with all of them.

| event                                 | next | current | previous, the newest first |
|---------------------------------------|------|---------|----------------------------|
| we responded                          | new  |         |                            |
| the first packet came through `next`  | -    | next    | current, previous          |
| we initiated, the response came       | -    | new     | next, current, previous    |

An empty cell says that the slot stays as it is. Until the initiator's first packet the responder cannot know that
its response arrived, so it goes on with `current`.

The paper keeps one previous session, we keep MAX_PREVIOUS as long as they may be received with. When both sides
initiate at once, each derives two sessions while the other one still sends with an old session, until the first
packet of a new one confirms it; and if they have done so before, the two old sessions are two as well, one for each
direction. All four are kept, so that nothing which is under way is lost, whatever the order in which it arrives.
(Go and Linux forget the old session at the second derivation, and lose what comes by it.)

Each method returns the sessions that fell out, whose indices the caller releases.

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
        """The newest first."""
        return [*_present(self.next, self.current), *self.previous]

    def responded(self, session: Session, now: float) -> list[Session]:
        """A `next` that was never confirmed falls out: the initiator has begun anew."""
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
        """They are previous ones from now on. Returns those that have expired, or have no place any more."""
        held = [*sessions, *self.previous]
        self.previous = [session for session in held if now < session.expires_at][:MAX_PREVIOUS]
        return [session for session in held if session not in self.previous]


def _present(*sessions: Session | None) -> list[Session]:
    return [session for session in sessions if session is not None]
