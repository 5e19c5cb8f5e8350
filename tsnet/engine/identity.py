"""Who this node is between runs: the keys and marks that the state file keeps.

Source: Go types/persist/persist.go Persist; the machine key is beside it there, here they are one value.
Not here: where it rests (`edge.state`).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from tsnet.base.crypto import lock_private_from_seed, node_public
from tsnet.base.keys import LockPrivateKey, MachinePrivateKey, NodeKey, NodePrivateKey


@attrs.frozen
class Identity:
    """registered: control has accepted the node key once, so an auth key is not needed again.

    timestamp_mark: Unix seconds below which no WireGuard handshake of this node key may be stamped any more.
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

    @property
    def public(self) -> NodeKey:
        return node_public(self.node_key)


def new_identity(entropy: Callable[[int], bytes]) -> Identity:
    return Identity(
        machine_key=MachinePrivateKey(entropy(32)),
        node_key=NodePrivateKey(entropy(32)),
        lock_key=lock_private_from_seed(entropy(32)),
    )
