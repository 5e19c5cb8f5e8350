"""Who this node is between runs: the keys and marks that the state keeps.

Source: Go types/persist/persist.go Persist. Go keeps the machine key beside that value; here it is part of it.
Not here: its bytes (`saved`), where they are kept (`tsnet.edge.io`).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from tsnet.base.keys import LockPrivateKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.base.records import record
from tsnet.base.wording import Wording, api
from tsnet.errors import ConfigError


@record
class Identity:
    """registered: control has accepted the node key once, so an auth key is not needed again.

    timestamp_mark: Unix seconds. The time stamps of all WireGuard handshakes so far lie below it, those of the next
    run do not. None: no mark was ever saved.
    ephemeral: whether control was asked to remove the node when it goes offline. None: the store did not keep that.
    """

    machine_key: MachinePrivateKey
    node_key: NodePrivateKey
    lock_key: LockPrivateKey
    old_node_key: NodePrivateKey | None = None
    control_url: str = ""
    stable_id: str = ""
    login_name: str = ""
    registered: bool = False
    timestamp_mark: float | None = None
    ephemeral: bool | None = None

    @property
    def public(self) -> NodeKey:
        from tsnet.base.crypto import node_public

        return node_public(self.node_key)

    @property
    def is_known(self) -> bool:
        """Whether control knows this node, perhaps by the key before this one."""
        return self.registered or self.old_node_key is not None


def new_identity(entropy: Callable[[int], bytes]) -> Identity:
    from tsnet.base.crypto import lock_private_from_seed

    return Identity(
        machine_key=MachinePrivateKey(entropy(32)),
        node_key=NodePrivateKey(entropy(32)),
        lock_key=lock_private_from_seed(entropy(32)),
    )


def for_control(identity: Identity, control_url: str) -> Identity:
    """The identity for that control server. A control server other than the last one does not know the node, which
    enrols there anew."""
    if identity.control_url == control_url:
        return identity
    if not identity.control_url:
        return attrs.evolve(identity, control_url=control_url)
    return attrs.evolve(
        identity,
        control_url=control_url,
        old_node_key=None,
        stable_id="",
        login_name="",
        registered=False,
        ephemeral=None,
    )


def check_ephemeral(identity: Identity, wanted: bool) -> bool:
    """Whether the node is ephemeral. A node that control knows stays what control was told, whatever is wanted now.

    Raises ConfigError if a lasting node is wanted ephemeral: closing it would delete it from the tailnet.
    """
    if not identity.is_known or identity.ephemeral is None:
        return wanted
    if wanted and not identity.ephemeral:
        raise ConfigError(
            Wording(
                api("ephemeral=True"),
                ", but the kept identity is that of a lasting node, which closing would then delete from the tailnet: "
                "leave it out to go on as that node; or, for an ephemeral one, leave ",
                api("state="),
                " out, or name another place with it",
            )
        )
    return identity.ephemeral
