"""The three frames of a DERP login, both sides.

    S→C  ServerKey    magic "DERP🔑", the server's public key
    C→S  ClientInfo   the client's node key, nonce, box{"version": 2, "CanAckPings": true}
    S→C  ServerInfo   nonce, box{"version": 2}, perhaps with a rate limit

That the box opens is the proof that the client owns its node key. `meshKey` is left out: a Go server fails a
login whose meshKey is present but not 64 hex digits.

Source: Go derp/derp_client.go (sendClientKey, parseServerInfo), derp/derpserver/derpserver.go (recvClientKey).
"""

from __future__ import annotations

from typing import Any

from tsnet.base import jsonobject
from tsnet.base.crypto import BOX_NONCE_SIZE, TAG_SIZE, box_open, box_seal, node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.derp.frames import KEY_SIZE, PROTOCOL_VERSION

MAGIC = b"DERP\xf0\x9f\x94\x91"
MAX_CLIENT_INFO_SIZE = 256 << 10
MAX_GREETING_SIZE = 1 << 10


@record
class ClientInfo:
    """Who logs in. Unknown JSON members are ignored."""

    version: int = PROTOCOL_VERSION
    can_ack_pings: bool = True


@record
class ServerInfo:
    """rate: bytes a second that this client may send (frames counted whole), 0 for no limit; burst: bytes."""

    version: int = PROTOCOL_VERSION
    rate: int = 0
    burst: int = 0


def encode_server_key(server_key: NodeKey) -> bytes:
    return MAGIC + server_key


def decode_server_key(payload: bytes) -> NodeKey:
    """Bytes after the key are of a later version and ignored."""
    if len(payload) < len(MAGIC) + KEY_SIZE or not payload.startswith(MAGIC):
        raise MalformedError("no DERP greeting")
    return NodeKey(payload[len(MAGIC) : len(MAGIC) + KEY_SIZE])


def seal_client_info(private_key: NodePrivateKey, server_key: NodeKey, nonce: bytes, info: ClientInfo) -> bytes:
    text = jsonobject.encode({"version": info.version, "CanAckPings": info.can_ack_pings})
    return node_public(private_key) + nonce + box_seal(private_key, server_key, nonce, text)


def open_client_info(private_key: NodePrivateKey, payload: bytes) -> tuple[NodeKey, ClientInfo]:
    """The server's side. Raises MalformedError unless the sender owns the key it names."""
    if not KEY_SIZE + BOX_NONCE_SIZE + TAG_SIZE <= len(payload) <= MAX_CLIENT_INFO_SIZE:
        raise MalformedError("ClientInfo of impossible size")
    client_key = NodeKey(payload[:KEY_SIZE])
    info = _open(private_key, client_key, payload[KEY_SIZE:])
    return client_key, ClientInfo(_number(info, "version"), info.get("CanAckPings") is True)


def seal_server_info(private_key: NodePrivateKey, client_key: NodeKey, nonce: bytes, info: ServerInfo) -> bytes:
    members = {"version": info.version}
    if info.rate:
        members |= {"TokenBucketBytesPerSecond": info.rate, "TokenBucketBytesBurst": info.burst}
    return nonce + box_seal(private_key, client_key, nonce, jsonobject.encode(members))


def open_server_info(private_key: NodePrivateKey, server_key: NodeKey, payload: bytes) -> ServerInfo:
    if not BOX_NONCE_SIZE + TAG_SIZE <= len(payload) <= MAX_CLIENT_INFO_SIZE:
        raise MalformedError("ServerInfo of impossible size")
    info = _open(private_key, server_key, payload)
    rate, burst = _number(info, "TokenBucketBytesPerSecond"), _number(info, "TokenBucketBytesBurst")
    return ServerInfo(_number(info, "version"), rate, burst)


def _open(private_key: NodePrivateKey, public_key: NodeKey, sealed: bytes) -> dict[str, Any]:
    text = box_open(private_key, public_key, sealed[:BOX_NONCE_SIZE], sealed[BOX_NONCE_SIZE:])
    return jsonobject.parse(text, "the login box")


def _number(members: dict[str, Any], name: str) -> int:
    """A whole number of 63 bits that is not negative, or 0: absent, null and nonsense are the same here."""
    value = members.get(name)
    return value if type(value) is int and 0 < value < 1 << 63 else 0
