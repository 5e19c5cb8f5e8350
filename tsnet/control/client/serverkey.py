"""Which Noise key of the control server is trusted.

    pinned by the user, or known from before, or the first one met
      ─► trusted: proved in a handshake; from then on no other key sees anything of us
      ─► known: the server has accepted us with it; it is told as a fact, and kept from run to run

A connection begins with the trusted key at once, and asks for it beside that: after a start, and after failures.
Whoever has another key cannot read what was sealed to this one.

| another key at /key                       | then                                                    |
|-------------------------------------------|---------------------------------------------------------|
| that is not the pinned one                | NotAControlServer                                       |
| over TLS with a certificate that verified | trusted, once it is proved; told as NewControlKey       |
| over http, or TLS that is not verified    | ControlKeyChanged: no handshake is begun with it        |

Source: ours; Go trusts whatever /key says over verified TLS, and asks once a process.
Not here: asking for the key (`controlconnection`), keeping it (the owner of the client).
"""

from __future__ import annotations

from tsnet.base.keys import MachineKey
from tsnet.control.client import controlerrors
from tsnet.control.client.address import ControlAddress
from tsnet.control.client.facts import ControlKey, NewControlKey
from tsnet.errors import ControlKeyChanged, Error

ASK_AFTER = 3
"""After this many connections in a row without a proof we ask for the key: the server may have another one."""


class ServerKey:
    """known: the key that was told last, by this process or an earlier one. verified: whether /key has verified TLS."""

    def __init__(self, *, pinned: MachineKey | None, known: MachineKey | None, verified: bool) -> None:
        self.pinned: MachineKey | None = pinned
        self.known = known
        self.verified: bool = verified
        self.trusted = pinned or known
        self._unproven = 0
        self._strange = ""

    def connecting(self, *, met: bool) -> tuple[MachineKey | None, bool]:
        """The key to begin a connection with, if one is trusted, and whether to ask for it (beside that).

        met: whether the server has served this process.
        """
        asks = self.trusted is None or not met or self._unproven >= ASK_AFTER
        self._unproven += 1
        return self.trusted, asks

    def objection(self, address: ControlAddress, found: MachineKey) -> tuple[str, Error] | None:
        """Why no handshake is begun with this key, which /key named: in short, and as the error. None: one is."""
        if self.pinned is not None:
            if found == self.pinned:
                return None
            return "wrong server key", controlerrors.wrong_control_key(address, found, self.pinned)
        if self.verified or self.trusted is None or found == self.trusted:
            return None
        return "another server key", controlerrors.control_key_changed(address, found, self.trusted)

    def proven(self, key: MachineKey | None) -> None:
        self.trusted, self._unproven = key, 0

    def taken_in(self) -> ControlKey | NewControlKey | None:
        """The server has accepted or served us. Returns the fact about its key, if the key is new."""
        key, before = self.trusted, self.known
        self._strange = ""
        if key is None or key == before:
            return None
        self.known = key
        return ControlKey(key) if before is None else NewControlKey(key, before)

    def from_scratch(self) -> None:
        """Forget a key that the server has never accepted us with, as a new process would."""
        self.trusted, self._strange = self.pinned or self.known, ""

    def is_news(self, error: Error) -> bool:
        """Whether to tell this error. A changed key is told once, although each attempt meets it."""
        if not isinstance(error, ControlKeyChanged):
            return True
        before, self._strange = self._strange, str(error)
        return before != self._strange
