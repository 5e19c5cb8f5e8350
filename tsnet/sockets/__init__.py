"""Real descriptors for the node's connections, for libraries that want a `socket.socket`.

    application's thread                              node's thread
    TailnetSocket   <── AF_UNIX pair, 64 KiB ──>  Bridge  <──> NodeStream (a pipe of the node)
    ListeningSocket <── the kernel's queue ─────  Backlog <─── accepted pipes

The descriptors can be polled, handed to C libraries and inherited by a forked child. The Python objects around them
show tailnet addresses and tell a reset from an end. Nothing here has a task or a thread of its own: a bridge consists
of callbacks on the reactor of the node's thread.

Not here: the pipes (`tsnet.edge.pipes`), the reactor (`tsnet.edge.io.reactor`).
"""

from tsnet.sockets.backlog import Backlog
from tsnet.sockets.bridge import Bridge, NodeStream, bridge
from tsnet.sockets.connected import TailnetSocket
from tsnet.sockets.listening import ListeningSocket, listening

__all__ = ["Backlog", "Bridge", "ListeningSocket", "NodeStream", "TailnetSocket", "bridge", "listening"]
