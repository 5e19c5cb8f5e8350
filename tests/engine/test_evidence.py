from __future__ import annotations

import pytest

from tests.engine.pair import node
from tsnet.engine.evidence import OPEN, Evidence


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [("db", None, "db"), ("db", 80, "db:80"), ("fd7a::1", 80, "[fd7a::1]:80"), ("fd7a::1", None, "fd7a::1")],
)
def test_the_target_as_somebody_would_write_it(host: str, port: int | None, target: str) -> None:
    assert Evidence(host, port).target == target


def test_the_peer_is_called_by_its_label() -> None:
    assert Evidence("100.64.0.2").name == "100.64.0.2"
    assert Evidence("100.64.0.2", peer=node(2, "db")).name == "db"


@pytest.mark.parametrize(
    ("port", "tunnel", "said", "answers", "denied"),
    [
        (None, None, None, False, False),
        (None, 0.1, None, True, False),
        (80, 0.1, None, False, False),
        (80, None, OPEN, True, False),
        (80, 0.1, "refused", False, True),
    ],
)
def test_what_was_asked_for(
    port: int | None, tunnel: float | None, said: str | None, answers: bool, denied: bool
) -> None:
    evidence = Evidence("db", port, tunnel=tunnel, port_said=said)
    assert (evidence.answers, evidence.is_denied) == (answers, denied)
