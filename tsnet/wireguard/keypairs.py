"""The up to three sessions with one peer, and how they move up.

| event                                   | previous           | current | next |
|-----------------------------------------|--------------------|---------|------|
| we initiated, the response came         | next, else current | new     | -    |
| we responded                            | -                  |         | new  |
| the first packet came through `next`    | current            | next    | -    |

We send with `current` only: until the initiator's first packet the responder cannot know that its response
arrived. Each method returns the sessions that fell out, whose indices the caller releases.

Source: wireguard-go device/noise-protocol.go BeginSymmetricSession, ReceivedWithKeypair.
"""

from __future__ import annotations

from tsnet.wireguard.session import Session


class Keypairs:
    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.previous: Session | None = None
        self.current: Session | None = None
        self.next: Session | None = None

    def all(self) -> list[Session]:
        return _present(self.previous, self.current, self.next)

    def initiated(self, session: Session) -> list[Session]:
        if self.next is not None:
            out = _present(self.previous, self.current)
            self.previous, self.current, self.next = self.next, session, None
        else:
            out = _present(self.previous)
            self.previous, self.current = self.current, session
        return out

    def responded(self, session: Session) -> list[Session]:
        out = _present(self.previous, self.next)
        self.previous, self.next = None, session
        return out

    def confirmed(self) -> list[Session]:
        out = _present(self.previous)
        self.previous, self.current, self.next = self.current, self.next, None
        return out

    def clear(self) -> list[Session]:
        out = self.all()
        self.previous = self.current = self.next = None
        return out


def _present(*sessions: Session | None) -> list[Session]:
    return [session for session in sessions if session is not None]
