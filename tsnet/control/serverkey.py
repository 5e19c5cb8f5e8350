"""Which key of the control server is trusted: the Noise key that its handshakes prove.

    pinned by the user, or known from before, or the first one met
      ─► trusted: proved in a handshake, the only one to see anything of us from then on
      ─► known: the server has taken us in with it, so it is told, and kept from run to run

| another key at /key                       | then                                                    |
|-------------------------------------------|---------------------------------------------------------|
| that is not the pinned one                | NotAControlServer                                       |
| over TLS with a certificate that verified | taken, once it is proved; told as NewControlKey         |
| over plain http, or TLS that proves nobody | ControlKeyChanged: no handshake is begun with it        |

Source: ours; Go trusts whatever /key says over verified TLS, and asks once a process.
Not here: asking (`uplink`), keeping (whoever runs the client).
"""

from __future__ import annotations

from tsnet.base.keys import MachineKey
from tsnet.control.facts import ControlKey, NewControlKey
from tsnet.errors import ControlKeyChanged, Error

ASK_AFTER = 3
"""Connections in a row that prove nothing: the server may have another key."""


class ServerKey:
    """known: the key told last, by this process or an earlier one. verified: whether /key comes over verified TLS."""

    def __init__(self, *, pinned: MachineKey | None, known: MachineKey | None, verified: bool) -> None:
        self.pinned, self.known, self.verified = pinned, known, verified
        self.trusted = pinned or known
        self._unproven = 0
        self._strange = ""

    def connecting(self, *, met: bool) -> MachineKey | None:
        """The key to begin with, None to ask for it. met: the server has served us in this process."""
        asks = not met or self._unproven >= ASK_AFTER
        self._unproven += 1
        return None if asks else self.trusted

    def proven(self, key: MachineKey | None) -> None:
        self.trusted, self._unproven = key, 0

    def taken_in(self) -> ControlKey | NewControlKey | None:
        """The server has accepted or served us; what there is to tell of its key."""
        key, before = self.trusted, self.known
        self._strange = ""
        if key is None or key == before:
            return None
        self.known = key
        return ControlKey(key) if before is None else NewControlKey(key, before)

    def from_scratch(self) -> None:
        """What was never taken in is forgotten, as by a new process."""
        self.trusted, self._strange = self.pinned or self.known, ""

    def is_news(self, error: Error) -> bool:
        """That the key has changed is said once, not at each attempt."""
        if not isinstance(error, ControlKeyChanged):
            return True
        before, self._strange = self._strange, str(error)
        return before != self._strange
