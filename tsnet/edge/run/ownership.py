"""What a server holds of its running node. When nobody holds it any more, nobody could close the node: it ends.

    dropped ─> a ResourceWarning ─> the node closes, once its last connection and its last listener have gone

So a socket that outlives its `Server` still works. A finalizer runs wherever the collector does: in any thread, the
node's own included, and in the middle of anything. It waits for nothing, and what closes the node does so in the node's
thread. The thread itself holds nodes, and never a `Ownership`.

Not here: the end of the process (`process_end`), streams and listeners that are dropped (`tsnet.streams`).
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
import weakref
from collections.abc import Callable

from tsnet.edge.run.handle import Handle
from tsnet.errors import NotUp

TIMEOUT = 2.0

_held: set[Handle] = set()
"""A node must not be garbage at the same time as its `Ownership`: the collector would end its ports first."""


class Ownership:
    """Its owners share it. kind: what it is that is dropped, for the warning."""

    __slots__ = ("_handle", "_kind")

    def __init__(self, handle: Handle, kind: str) -> None:
        self._handle, self._kind = handle, kind
        _held.add(handle)

    def __del__(
        self,
        warn: Callable[..., None] = warnings.warn,
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        if is_finalizing():  # `process_end` has ended the node, and the names of this module may be gone
            return
        handle = self._handle
        _held.discard(handle)
        if handle.is_over or not handle.host.holds(handle):
            return
        if not handle.was_up:  # an `up` that came too late, perhaps: its caller was told that it failed
            let_go(handle)
            return
        try:
            what = f"<{self._kind} {handle.prefs.hostname} {handle.state}>"
            how = "use `with`, or call its close(); it ends now, or when its last connection has gone"
            warn(f"unclosed {what}: {how}", ResourceWarning, stacklevel=2, source=self)
        finally:  # also if warnings are errors
            let_go(handle)


def weakly(method: Callable[[str], bool]) -> Callable[[str], bool]:
    """A server's method for its node, which must not keep the server. False once that is gone."""
    reference = weakref.WeakMethod(method)

    def call(text: str) -> bool:
        alive = reference()
        return alive is not None and alive(text)

    return call


def let_go(handle: Handle) -> None:
    """Close the node as soon as nothing of it is in use. Does not wait for that."""
    host = handle.host
    if host.own_thread or host.driven:
        host.call(functools.partial(_close_if_unused, handle))
    else:  # the caller's loop has ended: nobody else will run this node
        handle.lost(NotUp("the node was dropped, and its loop has ended"))
        host.ended()


def _close_if_unused(handle: Handle) -> None:
    """In the node's thread, now and after each turn until it is so."""
    with contextlib.suppress(NotUp):  # it has not come as far as a pump, or has failed
        pump = handle.pump
        if pump.owners:
            pump.after_turn = functools.partial(_close_if_unused, handle)
            return
        pump.after_turn = None
    handle.close(TIMEOUT).begin()
