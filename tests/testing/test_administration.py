from __future__ import annotations

from typing import Any

import pytest

from tests.house import House
from tsnet.errors import ConfigError


def capabilities_of(handle: Any) -> dict[str, Any]:
    return dict(handle.node.netmap.self_node.capabilities)


def test_attributes_reach_the_node_and_replace_those_before() -> None:
    house = House()
    a = house.up("a")
    house.tailnet.set_node_attributes("a", ["only-tcp-443", "silent-disco"])
    house.until(lambda: set(capabilities_of(a)) == {"only-tcp-443", "silent-disco"})
    house.tailnet.set_node_attributes("a", {"https://example.com/cap/x": [{"n": 1}]})
    house.until(lambda: capabilities_of(a) == {"https://example.com/cap/x": ({"n": 1},)})
    house.tailnet.set_node_attributes("a", [])
    house.until(lambda: not capabilities_of(a))


def test_attributes_of_several_hold_for_who_joins_later_and_add_up() -> None:
    house = House()
    house.tailnet.set_node_attributes("*", ["silent-disco"])
    house.tailnet.set_node_attributes("b", ["only-tcp-443"])
    a, b = house.up("a"), house.up("b")
    assert set(capabilities_of(a)) == {"silent-disco"}
    assert set(capabilities_of(b)) == {"silent-disco", "only-tcp-443"}
    house.tailnet.set_node_attributes("*", ["randomize-client-port"])
    house.until(lambda: set(capabilities_of(a)) == {"randomize-client-port"})
    house.until(lambda: set(capabilities_of(b)) == {"randomize-client-port", "only-tcp-443"})


@pytest.mark.parametrize("target", ["", "tag:", "a b", 5, None])
def test_a_target_that_is_nobody(target: Any) -> None:
    with pytest.raises(ConfigError):
        House().tailnet.set_node_attributes(target, ["silent-disco"])


WITHOUT_END: list[Any] = []
WITHOUT_END.append(WITHOUT_END)


@pytest.mark.parametrize(
    "attributes",
    [
        *("only-tcp-443", 5, [7], [""], {"": []}),
        *({"a": values} for values in (None, "text", {"b": 1}, [object()], [float("nan")], [b""], WITHOUT_END)),
    ],
)
def test_attributes_that_mean_nothing(attributes: Any) -> None:
    house = House()
    house.up("a")
    with pytest.raises(ConfigError, match="attributes"):
        house.tailnet.set_node_attributes("a", attributes)


def test_values_of_attributes_are_copied() -> None:
    house, value = House(), {"n": 1}
    handle = house.up("a")
    house.tailnet.set_node_attributes("a", {"x": [value]})
    value["n"] = 2
    house.run(1)
    assert capabilities_of(handle)["x"] == ({"n": 1},)


def test_a_node_that_is_not_there() -> None:
    house = House()
    for call in (house.tailnet.remove, house.tailnet.expire):
        with pytest.raises(ConfigError, match="nobody"):
            call("nobody")


def test_calls_about_a_node_that_is_not_there() -> None:
    tailnet = House().tailnet
    for call in (tailnet.node, tailnet.extend, lambda name: tailnet.rename(name, "x")):
        with pytest.raises(ConfigError, match="nobody"):
            call("nobody")
    for person in (tailnet.approve, tailnet.reject):
        with pytest.raises(KeyError):
            person("nobody")


def test_users_and_whose_nodes_are_whose() -> None:
    house = House(user="ann@example.com")
    keys = (None, house.tailnet.create_auth_key("bob@example.com"), house.tailnet.create_auth_key(tags=["tag:web"]))
    for name, key in zip("abc", keys, strict=True):
        house.up(name, auth_key=key)
    assert house.tailnet.users() == {"ann@example.com": ("a",), "bob@example.com": ("b",)}


def test_a_key_expires_and_is_extended_without_a_login() -> None:
    house = House()
    a = house.up("a")
    before = house.tailnet.node("a").key
    house.tailnet.expire("a")
    house.until(lambda: a.state == "expired")
    house.tailnet.extend("a", expires_in=3600)
    house.until(lambda: a.state == "running")
    after = house.tailnet.node("a")
    assert (after.key, after.is_expired) == (before, False)
    assert after.key_expires_at == pytest.approx(house.host.world.wall() + 3600, abs=60)


def test_a_name_that_an_administrator_gives_stays() -> None:
    house = House()
    a, _b = house.up("a"), house.up("b")
    house.tailnet.rename("a", "till")
    house.until(lambda: netmap_of(a).self_node.name == "till.tailnet.test")
    assert house.tailnet.node("till").hostname == "a"
    for bad, reason in (("b", "called"), ("Two Words", "no name")):
        with pytest.raises(ConfigError, match=reason):
            house.tailnet.rename("till", bad)
    house.tailnet.rename("till", "till")
    house.tailnet.rename("till", "")
    house.until(lambda: netmap_of(a).self_node.name == "a.tailnet.test")


def netmap_of(handle: Any) -> Any:
    return handle.node.netmap


def test_a_tailnet_that_wants_approval() -> None:
    house = House(wants_approval=True)
    trusted = house.up("trusted", auth_key=house.tailnet.create_auth_key(preauthorized=True))
    waiting = house.handle("waiting")
    waiting.when_running(60, lambda made, timeout: None)
    house.until(lambda: "waiting" in house.tailnet.online())
    house.run(5)
    assert not house.tailnet.node("waiting").is_approved
    assert not netmap_of(trusted).peers
    assert not netmap_of(waiting).self_node.machine_authorized
    assert not netmap_of(waiting).peers
    house.tailnet.approve("waiting")
    house.until(lambda: netmap_of(trusted).peers)
    house.until(lambda: netmap_of(waiting).peers)
    assert netmap_of(waiting).self_node.machine_authorized


def test_logins_wait_are_approved_and_rejected() -> None:
    house = House()
    handles = [house.handle(name, auth_key="") for name in ("a", "b")]
    for handle in handles:
        handle.when_running(60, lambda made, timeout: None)
    house.until(lambda: len(house.tailnet.logins()) == 2)
    urls = {hostname: url for url, hostname in house.tailnet.logins().items()}
    assert urls["a"].startswith(house.tailnet.control_url)
    house.tailnet.approve(urls["a"], "carol@example.com")
    house.tailnet.reject(urls["b"], "not today")
    house.until(lambda: "a" in house.tailnet.nodes())
    assert house.tailnet.node("a").user == "carol@example.com"
    house.until(lambda: handles[1].state == "failed")
    assert not house.tailnet.logins()
