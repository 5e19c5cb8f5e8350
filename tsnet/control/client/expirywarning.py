"""When a node is warned that its key will expire: a day before, or when a tenth of a shorter life is left. Once for
each expiry that control tells; an extension is another one.

| the key's life began                     | as far as we know                                                  |
|------------------------------------------|--------------------------------------------------------------------|
| when control changed the expiry          | a login with a new key, an extension: now                          |
| before this process                      | with the node (Created): the life counts as longer, and so a node  |
|                                          | that restarts is warned too early, if anything                     |

All times are Unix seconds by control's clock.
Source: ours. Go's client leaves it to control to write a mail.
Not here: the expiry itself (`mapsession`), who is told (`engine.controlword`).
"""

from __future__ import annotations

import math

from tsnet.control.gojson import unix_time
from tsnet.netmap.model import Node

DAY = 86_400.0
TENTH = 10


class ExpiryWarning:
    """at: when the warning is due; inf if it was given, or nothing expires."""

    def __init__(self) -> None:
        self.at: float = math.inf
        self._expiry: float | None = None
        self._has_seen = False

    def look(self, node: Node, control_now: float, *, is_expired: bool) -> bool:
        """Whether to warn now. node: our own, as control describes it now."""
        if node.key_expiry != self._expiry or not self._has_seen:
            self._begin(node, control_now)
        if is_expired or control_now < self.at:
            return False
        self.at = math.inf
        return True

    def _begin(self, node: Node, control_now: float) -> None:
        since = control_now if self._has_seen else unix_time(node.created) or control_now
        self._expiry, self._has_seen = node.key_expiry, True
        if node.key_expiry is None:
            self.at = math.inf
        else:
            life = node.key_expiry - min(since, control_now)
            self.at = node.key_expiry - min(DAY, max(life, 0.0) / TENTH)
