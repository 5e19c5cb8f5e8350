"""`prefs` and `set` of both servers: asyncio, trio and blocking code, and the next process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import tsnet
from tests.test_async_server import two
from tests.virtual import VirtualTailnet
from tsnet.errors import ConfigError, DialRefused, NotUp, SetTimeout
from tsnet.events import PrefsChanged
from tsnet.prefs import Prefs
from tsnet.testing import Tailnet

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


# --- tasks ------------------------------------------------------------------------------------------------------


@BACKENDS
def test_a_task_changes_them_and_everybody_sees_it(backend: str) -> None:
    async def main() -> None:
        async with two() as (virtual, a, b), await a.listen(80), a.events() as events:
            await (await b.dial("a", 80)).aclose()
            assert await a.set(hostname="Shop", shields_up=True) == a.prefs == Prefs("shop", shields_up=True)
            while not isinstance(event := await anext(events), PrefsChanged):
                pass
            assert event == PrefsChanged(Prefs("shop", shields_up=True), Prefs("a"))
            with pytest.raises(DialRefused):
                await b.dial(str(a.addresses[0]), 80)
            await virtual.until(lambda: a.name == "shop")
            assert (a.status().hostname, a.status().name) == ("shop", "shop")
            assert repr(a) == "<AsyncServer shop running>"
            await a.set(shields_up=False)
            await virtual.until(lambda: b.resolve("shop"))
            await (await b.dial("shop", 80)).aclose()

    anyio.run(main, backend=backend)


@BACKENDS
def test_a_call_that_is_cancelled_leaves_the_change(backend: str) -> None:
    async def main() -> None:
        async with VirtualTailnet() as virtual, virtual.server("a") as a:
            virtual.world.cut(virtual.tailnet._port.number, down=20)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(a.set, hostname="shop", timeout=None))
                await virtual.until(lambda: a.prefs == Prefs("shop"))
                tasks.cancel_scope.cancel()
            assert a.prefs == Prefs("shop")
            with pytest.raises(SetTimeout):
                await a.set(timeout=1)
            await virtual.until(lambda: a.name == "shop")

    anyio.run(main, backend=backend)


# --- blocking code ----------------------------------------------------------------------------------------------


def options(tailnet: Tailnet, **more: Any) -> dict[str, Any]:
    return {"control_url": tailnet.control_url, "auth_key": tailnet.auth_key, **more}


def test_a_thread_changes_them_and_the_next_process_begins_with_them(
    tailnet: Tailnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting = options(tailnet, state=tmp_path)
    with tsnet.Server(**lasting) as node:
        default = node.prefs
        assert node.set(hostname="My_Shop", shields_up=True) == node.prefs == Prefs("my-shop", shields_up=True)
        assert "my-shop" in tailnet.nodes()
    assert node.prefs == Prefs("my-shop", shields_up=True)  # also afterwards
    monkeypatch.setenv("TS_HOSTNAME", "env")
    again = tsnet.Server(**lasting, shields_up=False)
    assert again.prefs == Prefs("env")
    again.close()
    monkeypatch.delenv("TS_HOSTNAME")
    with tsnet.Server(**lasting) as node:
        assert node.prefs == Prefs("my-shop", shields_up=True)
        assert node.name == "my-shop"
        assert default.hostname == "tsnet"  # of a launcher, pytest


def test_what_makes_no_sense_is_said_at_once_and_changes_nothing(
    tailnet: Tailnet, caplog: pytest.LogCaptureFixture
) -> None:
    with tsnet.Server("a", ephemeral=True, **options(tailnet)) as node:
        wrong: list[tuple[dict[str, Any], type[Exception]]] = [
            ({"hostname": "-_-", "shields_up": True}, ConfigError),
            ({"hostname": None}, ConfigError),
            ({"shields_up": 1}, ConfigError),
            ({"timeout": "soon"}, ConfigError),
            ({"hostnam": "b"}, TypeError),
        ]
        for changes, error in wrong:
            with pytest.raises(error):
                node.set(**changes)
        assert node.prefs == Prefs("a")
        assert not caplog.records
        node.set(hostname="My_App")
        assert "'My_App' is no DNS label: this node asks control for 'my-app'" in caplog.text
    with pytest.raises(NotUp):
        node.set(shields_up=True)


def test_before_up_it_is_set_for_the_start(tailnet: Tailnet) -> None:
    node = tsnet.Server("a", ephemeral=True, **options(tailnet))
    assert node.set(hostname="early") == node.prefs == Prefs("early")
    assert node.status().hostname == "early"
    with node:
        assert node.name == "early"


def test_shields_from_the_beginning(tailnet: Tailnet) -> None:
    shut = tsnet.Server("shut", ephemeral=True, shields_up=True, **options(tailnet))
    with shut as a, tsnet.Server("b", ephemeral=True, **options(tailnet)) as b:
        assert a.prefs.shields_up
        with a.listen(80), b.listen(81):
            with pytest.raises(ConnectionRefusedError):
                b.dial("shut", 80)
            a.dial("b", 81).close()
            a.set(shields_up=False)
            b.dial("shut", 80).close()
