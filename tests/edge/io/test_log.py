from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tsnet.edge.io.log import Log, Seldom
from tsnet.errors import DialRefused


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


def test_what_a_peer_can_cause_is_said_once_a_minute_with_how_often(caplog: pytest.LogCaptureFixture) -> None:
    seldom = Seldom(Log("tsnet.test"))
    for second in range(100, 170):
        seldom.warning(float(second), "%s was refused", "a peer")
    seldom.warning(300.0, "%s was refused", "it", times=3)
    assert [record.getMessage() for record in caplog.records] == [
        "a peer was refused",
        "a peer was refused (and 59 more like this since it was last said)",
        "it was refused (and 11 more like this since it was last said)",
    ]


def test_a_percent_sign_in_what_is_said_seldom_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    Seldom(Log("tsnet.test")).warning(0.0, "%s", "100 %", times=2)
    assert "100 % (and 1 more" in caplog.text


def test_foreign_text_neither_moves_the_cursor_nor_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    log = Log("tsnet.test")
    with caplog.at_level(logging.INFO):
        log.warning("%s: %s", "a\x1b[2J", ValueError("b\nroot: c"))
        log.info("%d of %s", 1, DialRefused("it is refused"))
    assert [record.getMessage() for record in caplog.records] == [
        r"a\x1b[2J: b root: c",
        "1 of [Errno 111] it is refused",
    ]
    *_, error = caplog.records[1].args or ()
    assert isinstance(error, DialRefused)


def test_what_nobody_reads_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("nobody reads it")

    with caplog.at_level(logging.WARNING):
        Log("tsnet.test").info("%s", Costly())
