from __future__ import annotations

import attrs

from tests.house import House
from tsnet.testing.tailnetnode import TailnetNode


def test_a_node_is_shown_as_it_is_and_the_copy_stays() -> None:
    house = House(user="ann@example.com")
    handle = house.up("Ann's Shop")
    shown = house.tailnet.node("anns-shop")
    assert isinstance(shown, TailnetNode)
    assert (shown.name, shown.hostname, shown.user) == ("anns-shop", "anns-shop", "ann@example.com")
    assert shown.addresses == tuple(handle.node.addresses)
    assert shown.key.startswith("nodekey:")
    assert (shown.key_expires_at, shown.is_expired) == (None, False)
    assert (shown.is_approved, shown.is_ephemeral, shown.is_online) == (True, True, True)
    house.tailnet.expire("anns-shop")
    assert house.tailnet.node("anns-shop") == attrs.evolve(
        shown, is_expired=True, key_expires_at=house.tailnet.node("anns-shop").key_expires_at
    )
    assert not shown.is_expired


def test_a_node_with_tags_is_nobodys() -> None:
    house = House()
    house.up("web", auth_key=house.tailnet.create_auth_key("ann@example.com", tags=["tag:web"]))
    shown = house.tailnet.node("web.tailnet.test.")
    assert (shown.user, shown.tags) == ("tagged-devices", ("tag:web",))


def test_an_expiry_comes_by_itself() -> None:
    house = House()
    house.up("shop")
    house.tailnet.extend("shop", expires_in=9)
    assert not house.tailnet.node("shop").is_expired
    house.run(10)
    assert house.tailnet.node("shop").is_expired
