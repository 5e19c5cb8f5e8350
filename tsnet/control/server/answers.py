"""The requests that control answers beside registration and the map, in one table from path to function.

    server.answers["/machine/set-dns"] = function       a POST to that path is answered with what the function returns

A function is called in the server's turn and answers at once. MalformedError that it raises becomes status 400.

Not here: what stands behind a path (`idtokens`), requests that wait for something (`server`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tsnet.base.keys import MachineKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.control.gojson import key
from tsnet.control.server.members import Member
from tsnet.control.server.tailnet import TailnetState

ANSWER_COST = 20
"""Units of work that a call is taken for: about 0.2 ms, of which a signature is half."""


@attrs.frozen
class ControlRequest:
    """A request, and who asks: the machine whose key the Noise handshake has proved."""

    machine: MachineKey
    body: bytes = attrs.field(repr=False)
    unix_now: float


@attrs.frozen
class Reply:
    """The body is JSON with status 200, and otherwise a text for people."""

    status: int
    body: bytes = attrs.field(repr=False)


Respond = Callable[[ControlRequest], Reply]


def caller(tailnet: TailnetState, request: ControlRequest, fields: Mapping[str, Any]) -> Member | Reply:
    """The node that asks, by the NodeKey of its request; or the refusal, if that is not its own or has expired."""
    node_key = key(NodeKey, fields.get("NodeKey"))
    if node_key is None:
        raise MalformedError("request without NodeKey")
    member = tailnet.find(node_key)
    if member is None:
        return Reply(404, b"node not found\n")
    if member.machine != request.machine:
        return Reply(403, b"this node key belongs to another machine\n")
    if member.is_expired(request.unix_now):
        return Reply(403, b"the key of this node has expired\n")
    return member
