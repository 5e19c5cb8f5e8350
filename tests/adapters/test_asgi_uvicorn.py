"""A contract with uvicorn: what the engine uses of it that is public in all but name."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tsnet.adapters.asgi_uvicorn import UvicornEngine, _State


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("never called")


def test_protocol_classes_take_what_the_engine_gives() -> None:
    parameters = inspect.signature(H11Protocol.__init__).parameters
    assert {"config", "server_state", "app_state"} <= set(parameters)
    assert {"shutdown", "connection_made", "pause_writing"} <= set(dir(H11Protocol))


def test_lifespan_has_the_parts_that_are_used() -> None:
    lifespan: Any = LifespanOn(uvicorn.Config(app, log_config=None))
    assert inspect.iscoroutinefunction(lifespan.startup)
    assert inspect.iscoroutinefunction(lifespan.shutdown)
    assert lifespan.should_exit is False
    assert lifespan.state == {}


def test_server_state_keeps_connections_and_tasks() -> None:
    state = _State()
    assert state.connections == set()
    assert state.tasks == set()


def test_each_response_asks_for_the_date() -> None:
    state = _State()
    state.default_headers = [(b"server", b"somebody")]
    [(name, value)] = state.default_headers
    assert name == b"date"
    assert abs((parsedate_to_datetime(value.decode()) - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_serving_touches_neither_logging_nor_proxy_headers(anyio_backend: str) -> None:
    engine = UvicornEngine(app)
    assert engine._config.proxy_headers is False
    assert engine._config.log_config is None
    assert engine._config.loaded
