from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tsnet.edge.io.log import Log


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("a handler with a bug")


@pytest.fixture
def broken() -> Iterator[Log]:
    logger, handler = logging.getLogger("tsnet.broken"), Broken()
    logger.addHandler(handler)
    yield Log("tsnet.broken")
    logger.removeHandler(handler)


def test_what_is_said_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = Log("tsnet.test")
    with caplog.at_level(logging.INFO):
        log.info("one %s", 1)
        log.warning("two")
        log.error("three")
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("four")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "one 1"),
        ("WARNING", "two"),
        ("ERROR", "three"),
        ("ERROR", "four"),
    ]
    assert "ValueError: why" in caplog.text


def test_a_handler_that_raises_ends_nobody(broken: Log) -> None:
    broken.warning("one")
    broken.exception("two")
    broken.error("%d", "no number")
