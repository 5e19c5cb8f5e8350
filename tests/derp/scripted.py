"""A relay of a few lines, under the test's control: it says exactly what it is told to."""

from __future__ import annotations

from typing import Any

from tests.derp.joined import BUDGET, REGION, SERVER_PRIVATE, entropy, private_key
from tsnet.base.crypto import node_public
from tsnet.base.links import Closed, Data, Effect, Link, Opened, Received
from tsnet.derp import frames
from tsnet.derp.client import Client
from tsnet.derp.login import ServerInfo, encode_server_key, open_client_info, seal_server_info
from tsnet.derp.upgrade import encode_switching
from tsnet.netmap.model import DerpRegion

PRIVATE = private_key(3)
KEY = node_public(PRIVATE)
SERVER_KEY = node_public(SERVER_PRIVATE)
SWITCHING = encode_switching(SERVER_KEY)
GREETING = frames.encode(frames.SERVER_KEY, encode_server_key(SERVER_KEY))


def new_client(region: DerpRegion = REGION, **options: Any) -> Client:
    return Client(region, PRIVATE, entropy=entropy(3), now=0.0, **options)


def server_info(info: ServerInfo | None = None) -> bytes:
    sealed = seal_server_info(SERVER_PRIVATE, KEY, bytes(24), info or ServerInfo())
    return frames.encode(frames.SERVER_INFO, sealed)


def link_of(client: Client) -> Link:
    assert client.link is not None
    return client.link


def hear(client: Client, stream: bytes, now: float = 0.0) -> list[tuple[Any, list[bytes]]]:
    return client.receive(Received(link_of(client), stream), now)


def opened(client: Client, now: float = 0.0) -> None:
    """Dial and let the link open; the request has been sent."""
    client.transmit(now, BUDGET)
    client.receive(Opened(link_of(client)), now)
    client.transmit(now, BUDGET)


def ready(client: Client, now: float = 0.0) -> None:
    """Up to and with ClientInfo, which opens."""
    opened(client, now)
    hear(client, SWITCHING + GREETING, now)
    (frame_type, payload), *_ = said(client.transmit(now, BUDGET))
    assert frame_type == frames.CLIENT_INFO
    assert open_client_info(SERVER_PRIVATE, payload)[0] == KEY


def connected(client: Client, now: float = 0.0, info: ServerInfo | None = None) -> None:
    ready(client, now)
    hear(client, server_info(info), now)
    assert client.is_connected
    client.take_facts()


def close(client: Client, reason: str, now: float = 0.0) -> None:
    client.receive(Closed(link_of(client), reason), now)


def said(effects: list[Effect]) -> list[tuple[int, bytes]]:
    return frames.Decoder().feed(b"".join(effect.data for effect in effects if isinstance(effect, Data)))
