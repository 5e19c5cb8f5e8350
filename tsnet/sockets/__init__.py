"""Real descriptors over streams: what a library that wants a `socket.socket` is given.

    application's thread                              node's thread
    TailnetSocket   <── AF_UNIX pair, 64 KiB ──>  Bridge  <──> NodeStream (a stream's two buffers)
    ListeningSocket <── descriptors ────────────  Backlog <─── accepted pipes

The descriptors can be polled, handed to C libraries and inherited by a forked child; the Python objects around them
show tailnet addresses and tell a reset from an end. Nothing here has a task or a thread of its own: a bridge is
callbacks on the reactor of the node's thread.

Not here: the streams themselves (`tsnet.streams`), the reactor (`tsnet.edge.io.reactor`).
"""

from tsnet.sockets.bridge import Bridge, NodeStream, bridge
from tsnet.sockets.connected import TailnetSocket
from tsnet.sockets.listening import Backlog, ListeningSocket, listening

__all__ = ["Backlog", "Bridge", "ListeningSocket", "NodeStream", "TailnetSocket", "bridge", "listening"]
