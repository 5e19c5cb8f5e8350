"""The index table: which peer, and which session, a number of ours on the wire belongs to.

An index is a random u32 that we chose for a handshake and that its session inherits. Handshake messages and cookie
replies are looked up by number, transport messages by their first eight bytes, so that a whole run costs one look.

Source: WireGuard §6.3; wireguard-go device/indextable.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from tsnet.wireguard.messages import transport_prefix
from tsnet.wireguard.session import Session

Owner = TypeVar("Owner")


class IndexTable(Generic[Owner]):
    __slots__ = ("_entropy", "owners", "sessions")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self.owners: dict[int, Owner] = {}
        self.sessions: dict[bytes, tuple[Owner, Session]] = {}

    def allocate(self, owner: Owner) -> int:
        while True:
            index = int.from_bytes(self._entropy(4), "little")
            if index not in self.owners:
                self.owners[index] = owner
                return index

    def promote(self, session: Session) -> None:
        """The handshake's index becomes that of its session."""
        self.sessions[transport_prefix(session.local_index)] = (self.owners[session.local_index], session)

    def release(self, index: int) -> None:
        self.owners.pop(index, None)
        self.sessions.pop(transport_prefix(index), None)
