"""What a node remembers beyond its process: its identity with its keys, control's key, its preferences, its port.

    change ─► Save, a fact ─► the edge's worker ─► saved ─► what depends on the value may go on
    rotate ─► the same ─► key_to_use: control knows the new key already, and now it will not be lost

A value that could not be saved is a complaint, and is tried again: after a while, and when the node ends.

Not here: tickets and pauses (`saves`), the bytes (`saved`), what depends on a value (`node`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tsnet.base.keys import MachineKey, NodePrivateKey
from tsnet.base.wording import Wording, api
from tsnet.config import Config
from tsnet.engine import facts
from tsnet.engine.healthmessages import HealthMessages
from tsnet.engine.identity import Identity
from tsnet.engine.saved import (
    CONTROL_KEY,
    HOME_RELAY,
    IDENTITY,
    NETMAP,
    PREFS,
    UDP_PORT,
    KnownControl,
    encode_control,
    encode_identity,
    encode_port,
    encode_prefs,
)
from tsnet.engine.saves import Saves
from tsnet.errors import Error


class Remembered:
    """identity, udp_port: the newest, saved or not. told: where facts are added."""

    def __init__(
        self,
        identity: Identity,
        config: Config,
        udp_port: int = 0,
        *,
        health: HealthMessages,
        told: list[facts.Fact],
    ) -> None:
        self.identity: Identity = identity
        self.udp_port: int = udp_port
        self._config, self._health, self._told = config, health, told
        self._saves = Saves()
        self._next_key: NodePrivateKey | None = None  # control knows it, or will: it is used once it is saved

    def change(self, **changes: Any) -> None:
        """Change the identity, and have it saved if that makes a difference."""
        identity = attrs.evolve(self.identity, **changes)
        if identity != self.identity:
            self.identity = identity
            self._told.append(self._saves.want(IDENTITY, encode_identity(identity), identity))

    def port(self, port: int) -> None:
        """The UDP port to be bound at the next start if it is free, 0 for any: peers that have a session with this node
        find the next process there at once."""
        if port != self.udp_port:
            self.udp_port = port
            self._told.append(self._saves.want(UDP_PORT, encode_port(port), None))

    def home_relay(self, value: bytes) -> None:
        """The relay to dial at the next start (`homerelay`)."""
        self._told.append(self._saves.want(HOME_RELAY, value, None))

    def netmap(self, value: bytes) -> None:
        """What the next start may go by while control is away; empty for nothing."""
        self._told.append(self._saves.want(NETMAP, value, None))

    def rotate(self, private: NodePrivateKey, old: NodePrivateKey | None) -> None:
        """Control is asked to put this key in the old one's place. `key_to_use` tells when it is to be used."""
        self._next_key = private
        self.change(node_key=private, old_node_key=old, registered=False)

    def forget_login(self, fresh: NodePrivateKey) -> None:
        """We have logged out. fresh: the key of whoever logs in next, which is another node."""
        self.change(node_key=fresh, registered=False, old_node_key=None, stable_id="", login_name="")

    def control_key(self, key: MachineKey, before: MachineKey | None = None) -> None:
        """before: the key that this one replaces, of which a notice tells."""
        known = KnownControl(self._config.control_url, key)
        self._told.append(self._saves.want(CONTROL_KEY, encode_control(known), known))
        if before is not None:
            self._told.append(facts.Notice(_new_control_key(self._config, key, before)))

    def prefs(self, kept: Mapping[str, Any]) -> None:
        """PrefsSaved is told once they are saved."""
        self._told.append(self._saves.want(PREFS, encode_prefs(kept), facts.PrefsSaved(kept)))

    @property
    def has_prefs(self) -> bool:
        """Whether the latest preferences are saved."""
        return self._saves.is_saved(PREFS)

    @property
    def prefs_failure(self) -> Error | None:
        """Why they are not, if that was tried. It is tried again."""
        return self._saves.failure(PREFS)

    def saved(self, ticket: int, error: Error | None, now: float) -> Identity | None:
        """The answer to a Save. Returns the identity that is saved now, if it was one."""
        thing = self._saves.answered(ticket, error, now)
        if error is not None:
            self._told.append(facts.Problem(error, fatal=False))
            self._health.set("state", [str(error)])
        elif self._saves.is_idle:
            self._health.set("state", ())
        if isinstance(thing, facts.PrefsSaved):
            self._told.append(thing)
        return thing if isinstance(thing, Identity) else None

    def key_to_use(self, identity: Identity) -> NodePrivateKey | None:
        """The key that waited for this identity to be saved, once."""
        if identity.node_key != self._next_key:
            return None
        self._next_key = None
        return identity.node_key

    def tick(self, now: float) -> None:
        """Try again what could not be saved, when it is time."""
        self._told += self._saves.tick(now)

    def begin_close(self) -> None:
        """What could not be saved is tried once more, without a pause."""
        self._saves.try_last()

    @property
    def may_end(self) -> bool:
        """Whether that has been handed out."""
        return not self._saves.awaits_last_try

    def deadline(self) -> float:
        return self._saves.retry_at


def _new_control_key(config: Config, key: MachineKey, before: MachineKey) -> str:
    by_certificate = "its certificate says that it is the same server"
    why = (by_certificate,) if config.control_key is None else (api("control_key="), " names it")
    return Wording(
        f"control at {config.control_url} has another key than before, and ",
        *why,
        f": {key} is remembered in place of {before}",
    )
