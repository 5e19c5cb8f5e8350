"""A node of an embedded tailnet, as its administrator sees it.

    tailnet.node("shop").user          "ann@example.com"
    tailnet.node("shop").is_approved   False: it waits for `tailnet.approve("shop")`

It is a copy: ask again for what is true later.

Source: the machines page of a Tailscale admin console, for the words.
Not here: how control keeps it (`tsnet.control.server.members`), what changes it (`administration`).
"""

from __future__ import annotations

import attrs

from tsnet.base.addresses import IPAddress
from tsnet.control.server.members import Member
from tsnet.control.server.tailnet import TailnetState


@attrs.frozen
class TailnetNode:
    """user: the login of its owner, "tagged-devices" if it has tags. key: its node key, as "nodekey:…".

    hostname: what it calls itself; its name follows that until `rename`. key_expires_at: Unix seconds, None for never.
    is_expired: it must log in again. is_approved: it may speak with others. is_online: its map stream is open.
    """

    name: str
    hostname: str
    user: str
    tags: tuple[str, ...]
    addresses: tuple[IPAddress, ...]
    key: str
    key_expires_at: float | None
    is_expired: bool
    is_approved: bool
    is_ephemeral: bool
    is_online: bool


def shown(tailnet: TailnetState, member: Member, unix_now: float) -> TailnetNode:
    return TailnetNode(
        name=member.name,
        hostname=member.hostname,
        user=tailnet.users[member.user].login_name,
        tags=member.tags,
        addresses=addresses_of(member),
        key=member.key.text(),
        key_expires_at=member.key_expiry,
        is_expired=member.is_expired(unix_now),
        is_approved=member.is_authorized,
        is_ephemeral=member.is_ephemeral,
        is_online=member.is_online,
    )


def addresses_of(member: Member) -> tuple[IPAddress, ...]:
    return tuple(prefix.network_address for prefix in member.addresses)
