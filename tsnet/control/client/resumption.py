"""Going on with a map session where its stream broke off, so that a server need not send the whole map again.

    first message of a stream   MapSessionHandle ─► kept        the one that we asked for ─► the stream goes on
    every message               Seq ─► kept, once the netmap has it         another, none ─► it begins anew
    next request                MapSessionHandle, MapSessionSeq: what we have last

A server may ignore what is asked for: the handle in its first message tells. What was kept is forgotten when a message
was refused, since the netmap then lacks it, and it is asked for with the same node key alone.

Source: Go tailcfg/tailcfg.go: MapRequest.MapSessionHandle and MapSessionSeq, MapResponse.MapSessionHandle and Seq. Go's
own client never asks for it.
Not here: what a stream that begins anew keeps of the last netmap (`tsnet.netmap.merge`).
"""

from __future__ import annotations

import attrs

from tsnet.base.keys import NodeKey
from tsnet.control.messages import MapRequest, MapResponse

MAX_HANDLE = 1024
"""Characters. A longer handle is not kept: it would be sent with each request."""


class Resumption:
    def __init__(self) -> None:
        self._handle, self._seq = "", 0
        self._node_key: NodeKey | None = None

    def asking(self, request: MapRequest) -> MapRequest:
        """The request of the next stream."""
        if request.node_key != self._node_key:
            self.forget()
        self._node_key = request.node_key
        return attrs.evolve(request, session_handle=self._handle, session_seq=self._seq) if self._handle else request

    def goes_on(self, first: MapResponse) -> bool:
        """Whether a stream with this first message goes on with the session that we asked for."""
        return bool(self._handle) and first.session_handle == self._handle

    def taken(self, response: MapResponse, *, is_first: bool) -> None:
        """The netmap has this message. is_first: of a stream."""
        if is_first and not self.goes_on(response):
            self._handle, self._seq = response.session_handle, 0
            if len(self._handle) > MAX_HANDLE:
                self._handle = ""
        self._seq = max(self._seq, response.seq)

    def forget(self) -> None:
        """The netmap lacks something: the next stream is to bring all of it."""
        self._handle, self._seq = "", 0
