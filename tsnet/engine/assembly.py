"""How a node's largest rooms are made from its configuration and its identity.

Not here: how they work together (`node`), how a node begins (`tsnet.edge.run.opening`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsnet.base.crypto import disco_public, lock_public, node_public
from tsnet.base.keys import DiscoPrivateKey, MachineKey
from tsnet.base.trace import Tracer, trace_of
from tsnet.config import Config
from tsnet.control.client.client import Client
from tsnet.engine.cachednetmap import CachedNetmap
from tsnet.engine.derprelays import Relays
from tsnet.engine.engine import Engine
from tsnet.engine.homerelay import HomeRelay
from tsnet.engine.identity import Identity
from tsnet.engine.portmapping import PortMapping
from tsnet.engine.reachability import Reachability
from tsnet.wireguard.keylog import KeyLog


class Assembly:
    """disco_key: that of this start. wall: Unix time at `now`. tracer: gives each room its trace."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        disco_key: DiscoPrivateKey,
        entropy: Callable[[int], bytes],
        *,
        now: float,
        wall: float,
        tracer: Tracer | None,
    ) -> None:
        self._config, self._identity, self._disco_key, self._entropy = config, identity, disco_key, entropy
        self._now, self._wall_offset, self._tracer = now, wall - now, tracer

    def engine(self, key_log: KeyLog | None = None) -> Engine:
        return Engine(
            self._identity.node_key,
            self._disco_key,
            entropy=self._entropy,
            now=self._now,
            wall_offset=self._wall_offset,
            timestamp_mark=self._identity.timestamp_mark,
            tracer=self._tracer,
            key_log=key_log,
        )

    def cached(self, kept: bytes) -> CachedNetmap:
        config, identity = self._config, self._identity
        return CachedNetmap(
            kept,
            config,
            node_public(identity.node_key),
            now=self._now,
            wall_offset=self._wall_offset,
            is_enrolled=identity.registered,
            may_be_kept=not config.ephemeral and identity.ephemeral is False,
            trace=trace_of(self._tracer, "control"),
        )

    def relays(self) -> Relays:
        return Relays(
            self._identity.node_key,
            entropy=self._entropy,
            over_http=self._config.derp_over_http,
            trace=trace_of(self._tracer, "derp"),
        )

    def home_relay(self, kept: bytes, reachability: Reachability) -> HomeRelay:
        """kept: what the store has. A node that control knows dials it at once."""
        home_relay, is_known = HomeRelay(kept, self._config.control_url), self._identity.registered
        if home_relay.region is not None and is_known and not self._config.force_login:
            reachability.begin(home_relay.region, self._now)
        return home_relay

    def port_mapping(self) -> PortMapping:
        return PortMapping(
            self._entropy,
            enabled=self._config.port_mapping and not self._config.always_use_derp,
            upnp=self._config.upnp,
            trace=trace_of(self._tracer, "portmap"),
        )

    def control(self, hostinfo: Mapping[str, Any], known_key: MachineKey | None, *, verifies_tls: bool) -> Client:
        """known_key: what was remembered of this control server. verifies_tls: whether a certificate that the edge
        accepts proves who the server is."""
        config, identity = self._config, self._identity
        return Client(
            config.control_url,
            machine_private=identity.machine_key,
            node_private=identity.node_key,
            disco_key=disco_public(self._disco_key),
            entropy=self._entropy,
            wall_offset=self._wall_offset,
            hostinfo=hostinfo,
            auth_key=config.auth_key or "",
            credential=config.credential,
            enrolled=identity.registered and not config.force_login,
            ephemeral=config.ephemeral,
            lock_key=lock_public(identity.lock_key),
            control_key=config.control_key,
            known_control_key=known_key,
            tls_verified=verifies_tls,
            trace=trace_of(self._tracer, "control"),
        )
