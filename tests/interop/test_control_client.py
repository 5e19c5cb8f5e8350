"""Our control client against servers that nobody here wrote: Headscale and Tailscale's testcontrol."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.control.driver import Driver
from tests.interop.harness.headscale import DERP_REGION, Headscale
from tests.interop.harness.requirements import need
from tests.interop.harness.scene import Scene
from tests.interop.harness.testcontrol import Derper, TestControl
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey, MachineKey, MachinePrivateKey, NodePrivateKey
from tsnet.control.client import facts
from tsnet.control.client.client import Client
from tsnet.errors import AuthKeyRejected, ControlCertificateError, ControlUnreachable, NotAControlServer
from tsnet.netmap.model import DnsConfig

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


class Keys:
    """What makes a node the same node: its machine and node keys."""

    def __init__(self) -> None:
        self.machine, self.node = MachinePrivateKey(os.urandom(32)), NodePrivateKey(os.urandom(32))


def node(
    url: str, hostname: str, *, keys: Keys | None = None, tls: ssl.SSLContext | None = None, **options: Any
) -> Driver:
    keys = keys or Keys()
    hostinfo = {"Hostname": hostname, "OS": "linux", "BackendLogID": "0" * 64, **options.pop("hostinfo", {})}
    client = Client(
        url,
        machine_private=keys.machine,
        node_private=keys.node,
        disco_key=disco_public(DiscoPrivateKey(os.urandom(32))),
        entropy=os.urandom,
        wall_offset=time.time() - time.monotonic(),
        hostinfo=hostinfo,
        **options,
    )
    return Driver(client, tls)


def joined(driver: Driver) -> Driver:
    driver.until(lambda: driver.netmap)
    return driver


def set_home(driver: Driver, region: int) -> None:
    driver.client.set_net_info({"PreferredDERP": region, "DERPLatency": {f"{region}-v4": 0.01}}, time.monotonic())
    driver.until(lambda: any(told.home_region == region for told in driver.told(facts.Published)))


def fatal(driver: Driver) -> facts.Problem | None:
    return next((told for told in driver.told(facts.Problem) if told.fatal), None)


def fatal_error(driver: Driver) -> Exception:
    driver.until(lambda: fatal(driver))
    told = fatal(driver)
    assert told is not None
    return told.error


def names(driver: Driver) -> dict[str, bool | None]:
    assert driver.netmap is not None
    return {peer.name.partition(".")[0]: peer.online for peer in driver.netmap.peers.values()}


def seconds(driver: Driver, condition: Callable[[], object], timeout: float = 20) -> float:
    start = time.monotonic()
    driver.until(condition, timeout)
    return time.monotonic() - start


# --- Headscale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_headscale_join_see_a_peer_come_and_go(scene: Scene, tls: bool) -> None:
    need("headscale")
    with Headscale(scene, tls=tls) as headscale:
        key = headscale.auth_key(ephemeral=True)
        context = ssl.create_default_context(cafile=str(headscale.ca.path)) if headscale.ca else None
        with joined(node(headscale.url, "one", tls=context, auth_key=key, ephemeral=True)) as one:
            assert one.netmap is not None
            assert one.netmap.self_node.name == "one.lab.example"
            assert set(one.netmap.derp_map.regions) == {DERP_REGION}
            assert one.netmap.packet_filter
            assert one.netmap.dns != DnsConfig()
            set_home(one, DERP_REGION)
            assert headscale.node("one")["online"]
            with joined(node(headscale.url, "two", tls=context, auth_key=key, ephemeral=True)) as two:
                assert names(two) == {"one": True}
                set_home(two, DERP_REGION)
                assert seconds(one, lambda: names(one) == {"two": True}) < 3
                two.client.logout(time.monotonic())
                two.until(lambda: two.told(facts.LoggedOut))
            assert seconds(one, lambda: names(one) == {}) < 3
            assert not one.client.dropped
            assert [told for told in one.facts if isinstance(told, (facts.Problem, facts.ControlHealth))] == []


def test_headscale_refuses_keys_for_good(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale:
        spent, expired = headscale.auth_key(reusable=False), headscale.auth_key()
        headscale.expire_auth_key(expired)
        keys = Keys()
        with joined(node(headscale.url, "first", keys=keys, auth_key=spent)):
            pass
        tags = {"RequestTags": ["tag:nobody-owns"]}
        for options, reason in (
            ({"auth_key": "hskey-auth-123456789012-" + "a" * 64}, "invalid"),
            ({"auth_key": "garbage"}, "invalid"),
            ({"auth_key": spent}, "already used"),
            ({"auth_key": expired}, "expired"),
            ({"auth_key": headscale.auth_key(), "hostinfo": tags}, "tag:nobody-owns"),
        ):
            with node(headscale.url, "refused", **options) as driver:
                error = fatal_error(driver)
                assert isinstance(error, AuthKeyRejected)
                assert reason in error.reason
        for enrolled in (True, False):  # a known node comes back, its spent key in hand or not
            with joined(node(headscale.url, "first", keys=keys, auth_key=spent, enrolled=enrolled)) as again:
                assert again.told(facts.NodeKeyRotated) == []


def test_headscale_login_by_a_person(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale, node(headscale.url, "person") as driver:
        driver.until(lambda: driver.told(facts.LoginUrl))
        (told,) = driver.told(facts.LoginUrl)
        headscale.register(told.url)
        joined(driver)
        assert len(driver.told(facts.LoggedIn)) == 1


def test_headscale_restart(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale, joined(node(headscale.url, "one", auth_key=headscale.auth_key())) as one:
        headscale.kill()
        one.until(lambda: one.told(facts.Disconnected))
        headscale.start()
        one.until(lambda: len(one.told(facts.Connected)) == 2, 40)
        assert len(one.told(facts.LoggedIn)) == 1
        assert fatal(one) is None


def test_headscale_deletes_a_node(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale:
        key = headscale.auth_key(ephemeral=True)
        with joined(node(headscale.url, "passing", auth_key=key, ephemeral=True)) as passing:
            headscale.delete_node("passing")
            assert seconds(passing, lambda: len(passing.told(facts.LoggedIn)) == 2) < 5
            assert len(passing.told(facts.NodeKeyRotated)) == 1
            passing.until(lambda: passing.netmap and passing.netmap.self_node.id != 1)
        with joined(node(headscale.url, "lasting", auth_key=headscale.auth_key())) as lasting:
            headscale.delete_node("lasting")
            assert seconds(lasting, lambda: lasting.told(facts.NodeRemoved)) < 5


def test_headscale_expires_a_node_and_it_logs_in_anew(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale, joined(node(headscale.url, "one", auth_key=headscale.auth_key())) as one:
        assert one.netmap is not None
        before = one.netmap.self_node
        headscale.expire_node("one")
        one.until(lambda: one.told(facts.KeyExpired))
        one.client.login(time.monotonic(), headscale.auth_key())
        one.until(lambda: one.told(facts.KeyExtended))
        after = one.netmap.self_node
        assert (after.id, after.addresses) == (before.id, before.addresses)
        assert after.key != before.key


def test_headscale_a_node_that_expired_while_it_was_away(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale:
        keys = Keys()
        with joined(node(headscale.url, "one", keys=keys, auth_key=headscale.auth_key())):
            pass
        headscale.expire_node("one")
        with node(headscale.url, "one", keys=keys, enrolled=True) as driver:
            driver.until(lambda: driver.told(facts.LoginUrl))
        with joined(node(headscale.url, "one", keys=keys, enrolled=True, auth_key=headscale.auth_key())) as one:
            assert len(one.told(facts.NodeKeyRotated)) == 1
        assert [told["given_name"] for told in headscale.nodes()] == ["one"]


def test_headscale_extends_the_key_of_a_node_that_expired_while_it_was_away(scene: Scene) -> None:
    """A new process asks a person to log in, follows its map meanwhile, and goes on by itself."""
    need("headscale")
    with Headscale(scene) as headscale:
        keys = Keys()
        with joined(node(headscale.url, "back", keys=keys, auth_key=headscale.auth_key())) as driver:
            assert driver.netmap is not None
            addresses = driver.netmap.self_node.addresses
            headscale.expire_node("back")
            driver.until(lambda: driver.told(facts.KeyExpired))
        with node(headscale.url, "back", keys=keys, enrolled=True) as driver:
            driver.until(lambda: driver.told(facts.LoginUrl) and driver.told(facts.KeyExpired))
            assert not driver.told(facts.LoggedIn)
            headscale.extend_node("back")
            assert seconds(driver, lambda: driver.told(facts.LoggedIn)) < 3
            assert driver.told(facts.KeyExtended)
            assert not driver.told(facts.NodeKeyRotated)
            assert driver.netmap is not None
            assert driver.netmap.self_node.addresses == addresses
            set_home(driver, DERP_REGION)
            assert fatal(driver) is None


def test_headscale_a_registration_under_way_is_logged_out(scene: Scene) -> None:
    """Wherever the end comes, nobody stays behind."""
    need("headscale")
    with Headscale(scene) as headscale:
        key = headscale.auth_key(ephemeral=True)
        for number, after in enumerate((0.0, 0.01, 0.03, 0.1, 0.3, 0.6)):
            with node(headscale.url, f"short{number}", auth_key=key, ephemeral=True) as driver:
                end = time.monotonic() + after
                while time.monotonic() < end:
                    driver.turn(end)
                driver.client.logout(time.monotonic(), by=time.monotonic() + 2)
                driver.until(lambda: driver.told(facts.LoggedOut))
        time.sleep(1)
        assert headscale.nodes() == []


def test_headscale_logout_and_login_of_the_same_and_of_another_user(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale, joined(node(headscale.url, "one", auth_key=headscale.auth_key("u1"))) as one:
        for number, user in ((2, "u1"), (3, "u2")):
            one.client.logout(time.monotonic())
            one.until(lambda number=number: len(one.told(facts.LoggedOut)) == number - 1)  # type: ignore[misc]
            one.client.login(time.monotonic(), headscale.auth_key(user))
            one.until(lambda number=number: len(one.told(facts.LoggedIn)) == number)  # type: ignore[misc]
        one.until(lambda: one.netmap and one.netmap.self_node.name == "one-1.lab.example")
        assert [told["user"]["name"] for told in headscale.nodes()] == ["u1", "u2"]


def test_headscale_and_two_nodes_of_one_key(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene) as headscale:
        keys, key = Keys(), headscale.auth_key()
        one = joined(node(headscale.url, "one", keys=keys, auth_key=key))
        with one, joined(node(headscale.url, "one", keys=keys, auth_key=key)):
            one.until(lambda: one.told(facts.DuplicateNode))


def test_certificates_are_judged_and_explained(scene: Scene) -> None:
    need("headscale")
    with Headscale(scene, tls=True) as headscale:
        assert headscale.ca is not None
        context = ssl.create_default_context(cafile=str(headscale.ca.path))
        with node(headscale.url, "stranger", tls=ssl.create_default_context(), auth_key="k") as driver:
            error = fatal_error(driver)
            assert isinstance(error, ControlCertificateError)
            assert "ssl_context=" in str(error)
        with node("http://127.0.0.1:8080", "plain", auth_key="k") as driver:
            assert isinstance(fatal_error(driver), NotAControlServer)
        headscale.stop()
        headscale.ca.leaf("127.0.0.1", days=(-3, -2))
        headscale.start()
        with node(headscale.url, "late", tls=context, auth_key="k") as driver:
            error = fatal_error(driver)
            assert isinstance(error, ControlCertificateError)
            assert "clock" in str(error)


# --- testcontrol ------------------------------------------------------------------------------------------------


def test_testcontrol_join_delta_ping_expiry_duplicate_logout(scene: Scene) -> None:
    need("testcontrol", "derper")
    with Derper(scene) as derper, TestControl(scene, derper) as control:
        keys = Keys()
        with node(control.url, "one", keys=keys, auth_key="any") as one:
            assert seconds(one, lambda: one.netmap) < 1
            assert one.netmap is not None
            set_home(one, derper.region)
            told = control.node("one")
            assert (told["HomeDERP"], told["Hostinfo"]["Hostname"]) == (derper.region, "one")
            assert one.told(facts.ControlHealth)[0].messages  # it lives in 2020: a warning, no more
            control.fake_node()
            one.until(lambda: one.netmap and one.netmap.peers)
            control.ping(told["Key"], {"URL": f"{control.url}/key?v=131"})
            control.expire_all()
            one.until(lambda: one.told(facts.KeyExpired))
            control.expire_all(False)
            one.until(lambda: one.told(facts.KeyExtended))
            with node(control.url, "one", keys=keys, auth_key="any") as other:
                other.until(lambda: other.netmap)
                while not one.told(facts.DuplicateNode):  # both turn: each takes the other's stream away
                    for driver in (one, other):
                        driver.turn(time.monotonic() + 0.01)
            one.client.logout(time.monotonic())
            one.until(lambda: one.told(facts.LoggedOut))
            assert not one.client.dropped
            assert fatal(one) is None


def test_testcontrol_keys_and_persons(scene: Scene) -> None:
    need("testcontrol", "derper")
    with Derper(scene) as derper:
        with TestControl(scene, derper, require_auth_key="good") as control:
            with node(control.url, "bad", auth_key="bad") as driver:
                assert isinstance(fatal_error(driver), AuthKeyRejected)
            with node(control.url, "pinned", auth_key="good", control_key=MachineKey(b"\x01" * 32)) as driver:
                assert isinstance(fatal_error(driver), NotAControlServer)
            with joined(node(control.url, "good", auth_key="good")):
                pass
        with TestControl(scene, derper, port=8082, require_auth=True) as control, node(control.url, "one") as driver:
            driver.until(lambda: driver.told(facts.LoginUrl))
            assert control.complete_auth(driver.told(facts.LoginUrl)[0].url)
            joined(driver)


def test_what_is_no_control_server(scene: Scene) -> None:
    need("derper")
    with node("http://127.0.0.1:3340", "one", auth_key="k") as driver:
        driver.until(lambda: len(driver.told(facts.Problem)) > 3)
        assert fatal(driver) is None
        assert isinstance(driver.told(facts.Problem)[-1].error, ControlUnreachable)
    with Derper(scene), node("http://127.0.0.1:3340", "one", auth_key="k") as driver:
        assert isinstance(fatal_error(driver), NotAControlServer)
