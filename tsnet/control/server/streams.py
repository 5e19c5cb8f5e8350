"""The open map streams: first everything, then what has changed, and a keep-alive when nothing has.

    open ─► first map ─► delta … delta ─► keep-alive (55 s of silence) …     a newer stream of the node ends this one
    last stream of a node ends ─► 5 s ─► offline ─► 60 s ─► an ephemeral node is deleted

A stream is told the difference between what it was told last and what is true now. A client that does not read is sent
nothing until it does, and then gets all changes in one message.

Source: Go control/controlclient/direct.go (watchdog of 120 s), tstest/integration/testcontrol serveMap.
Not here: requests (`server`), what a node may know (`tailnet`, `view`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from tsnet.base.timetable import Timetable
from tsnet.control.mapframes import encode_frame
from tsnet.control.messages import MapRequest, MapResponse, PingRequest
from tsnet.control.server.connection import Connection
from tsnet.control.server.faults import without
from tsnet.control.server.members import Member
from tsnet.control.server.tailnet import TailnetState
from tsnet.control.server.view import View, difference, first, view

KEEP_ALIVE = 55.0
BACKLOG = 256 * 1024
"""A stream with this many bytes waiting is sent no deltas."""

OFFLINE_AFTER = 5.0
"""Seconds without a stream after which a node counts as offline. Until then it may be just reconnecting."""

EPHEMERAL_AFTER = 60.0

DUE_NOW = -math.inf

Modify = Callable[[MapResponse], MapResponse]


@attrs.define(eq=False)
class MapStream:
    """lacks: the fields that a planned fault takes out of each of its messages."""

    connection: Connection
    number: int
    member: Member
    compress: bool
    told: View
    keep_alive_at: float
    lacks: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        return not self.connection.full and self.connection.calls.queued(self.number) < BACKLOG

    def write(self, message: MapResponse, now: float) -> None:
        body = without(message.encode(), self.lacks)
        self.connection.calls.write(self.number, encode_frame(body, compress=self.compress))
        self.keep_alive_at = now + KEEP_ALIVE


class MapStreams:
    """The streams, at most one a node. `take_touched` names the connections that have something to send.

    modify_first: changes each stream's first message, for tests of clients (testcontrol's ModifyFirstMapResponse).
    """

    def __init__(
        self, tailnet: TailnetState, wall_offset: float, now: float, modify_first: Modify | None = None
    ) -> None:
        self._tailnet = tailnet
        self._modify_first = modify_first
        self._wall_offset = wall_offset
        self._streams: dict[int, MapStream] = {}
        self._behind: dict[int, MapStream] = {}
        self._generation = tailnet.generation
        self._touched: dict[Connection, None] = {}
        self._keep_alives = Timetable[int]()  # by the stream's node
        self._offlines = Timetable[int]()  # when a node without a stream counts as offline
        self._deletions = Timetable[int]()  # when an ephemeral node is deleted
        for member in tailnet.members.values():
            if not member.is_wireguard_only:
                self._offlines.set(member.id, now + OFFLINE_AFTER)

    @property
    def nodes(self) -> frozenset[int]:
        """The ids of the nodes that have a stream."""
        return frozenset(self._streams)

    def open(
        self,
        connection: Connection,
        number: int,
        member: Member,
        request: MapRequest,
        now: float,
        lacks: tuple[str, ...] = (),
    ) -> None:
        """Answer a streaming map request: with the whole map now, and with changes later."""
        self._end(self._streams.get(member.id))
        self._offlines.drop(member.id)
        self._deletions.drop(member.id)
        self._tailnet.set_online(member, True, now + self._wall_offset)
        told = view(self._tailnet, member)
        stream = MapStream(connection, number, member, request.compress, told, now, lacks)
        self._streams[member.id] = stream
        connection.calls.respond(number, 200, end=False)
        message = MapResponse(first(told, now + self._wall_offset), disable_log_tail=True)
        stream.write(message if self._modify_first is None else self._modify_first(message), now)
        self._touched[connection] = None
        if request.keep_alive:
            self._keep_alives.set(member.id, stream.keep_alive_at)

    def closed(self, connection: Connection, number: int | None, now: float) -> None:
        """A stream of this connection is gone; if number is None, all of them are."""
        for stream in [one for one in self._streams.values() if one.connection is connection]:
            if number is None or stream.number == number:
                self._remove(stream)
                self._offlines.set(stream.member.id, now + OFFLINE_AFTER)

    def ping(self, node_id: int, request: PingRequest, now: float) -> bool:
        """Put a PingRequest on a node's stream; False if it has none."""
        stream = self._streams.get(node_id)
        if stream is None:
            return False
        stream.write(MapResponse(ping=request), now)
        self._touched[stream.connection] = None
        return True

    def run(self, now: float) -> None:
        """Do what is due, and tell every stream that reads what has changed for it."""
        for node_id in self._keep_alives.take(now):
            self._keep_alive(self._streams[node_id], now)
        for node_id in self._offlines.take(now):
            self._offline(node_id, now)
        for node_id in self._deletions.take(now):
            if (member := self._tailnet.members.get(node_id)) is not None:
                self._tailnet.delete(member)
        fresh = self._generation != self._tailnet.generation
        self._generation = self._tailnet.generation
        for stream in list((self._streams if fresh else self._behind).values()):
            self._tell(stream, now)

    def deadline(self) -> float:
        fresh = self._generation != self._tailnet.generation
        if fresh or self._touched or any(stream.is_ready for stream in self._behind.values()):
            return DUE_NOW
        return min(self._keep_alives.deadline(), self._offlines.deadline(), self._deletions.deadline())

    def take_touched(self) -> list[Connection]:
        touched, self._touched = list(self._touched), {}
        return touched

    def _tell(self, stream: MapStream, now: float) -> None:
        if stream.member.id not in self._tailnet.members:
            self._end(stream)
            return
        if not stream.is_ready:
            self._behind[stream.member.id] = stream
            return
        self._behind.pop(stream.member.id, None)
        told = view(self._tailnet, stream.member)
        update = difference(stream.told, told)
        stream.told = told
        if update is not None:
            stream.write(MapResponse(update), now)
            self._touched[stream.connection] = None

    def _end(self, stream: MapStream | None) -> None:
        """End a stream in an orderly way. The client opens another, or learns that its node is gone."""
        if stream is None:
            return
        stream.connection.calls.write(stream.number, b"", end=True)
        self._touched[stream.connection] = None
        self._remove(stream)

    def _remove(self, stream: MapStream) -> None:
        for table in (self._streams, self._behind):
            table.pop(stream.member.id, None)
        self._keep_alives.drop(stream.member.id)

    def _offline(self, node_id: int, now: float) -> None:
        member = self._tailnet.members.get(node_id)
        if member is not None:
            self._tailnet.set_online(member, False, now + self._wall_offset)
            if member.is_ephemeral:
                self._deletions.set(node_id, now + EPHEMERAL_AFTER)

    def _keep_alive(self, stream: MapStream, now: float) -> None:
        """Send a keep-alive, unless something else was sent meanwhile."""
        if now >= stream.keep_alive_at and stream.is_ready:
            stream.write(MapResponse(keep_alive=True), now)
            self._touched[stream.connection] = None
        self._keep_alives.set(stream.member.id, max(stream.keep_alive_at, now + 1.0))
