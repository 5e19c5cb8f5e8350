"""tcp_info from TcpInfo."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netstack import TcpConnection
from tests.scripts.played import fails, passes
from tests.scripts.tcp_info import CONSTANTS, NAMES, Whatever, value_of
from tests.scripts.world import Gap


def connection(**fields: Any) -> TcpConnection:
    """Any object with an `info()`: here with these fields alone."""
    return cast(TcpConnection, SimpleNamespace(info=lambda: SimpleNamespace(mss=1000, **fields)))


@pytest.mark.parametrize(
    ("name", "fields", "value"),
    [
        ("tcpi_state", {"state": "FIN_WAIT_2"}, 5),
        ("tcpi_ca_state", {"ca_state": "recovery"}, 3),
        ("tcpi_snd_cwnd", {"cwnd": 10_999}, 10),
        ("tcpi_snd_ssthresh", {"ssthresh": math.inf}, 0x7FFFFFFF),
        ("tcpi_snd_ssthresh", {"ssthresh": 7000.0}, 7),
        ("tcpi_unacked", {"outstanding": 2001}, 3),
        ("tcpi_lost", {"lost": 2000}, 2),
        ("tcpi_rtt", {"srtt": 0.1}, 100_000),
        ("tcpi_min_rtt", {"min_rtt": math.inf}, 4_294_000_000),
        ("tcpi_last_data_recv", {"data_received_time": 4.0}, 1000),
        ("tcpi_snd_mss", {}, 1000),
    ],
)
def test_units(name: str, fields: dict[str, Any], value: int) -> None:
    assert value_of(name, connection(**fields), 5.0) == value


@pytest.mark.parametrize("name", [*NAMES, "tcpi_fantasy"])
def test_what_is_not_there_is_named(name: str) -> None:
    bare = cast(TcpConnection, SimpleNamespace(info=lambda: SimpleNamespace()))
    with pytest.raises(Gap):
        value_of(name, bare, 0.0)


def test_constants_are_linuxs() -> None:
    assert (CONSTANTS["TCP_ESTABLISHED"], CONSTANTS["TCP_CLOSING"], CONSTANTS["TCP_CA_Loss"]) == (1, 11, 4)
    assert CONSTANTS["TCP_SYN_RECV"] == 3


def test_a_real_connection() -> None:
    passes("+0 %{ assert (tcpi_state, tcpi_snd_cwnd, tcpi_snd_mss) == (TCP_ESTABLISHED, 10, 1000) }%")
    fails("+0 %{ assert tcpi_snd_cwnd == 9, tcpi_snd_cwnd }%", "tcpi_snd_cwnd == 9, got 10")


def test_whatever_is_any_number() -> None:
    assert Whatever() == 6
    assert Whatever() != "6"
    assert len({Whatever(), Whatever()}) == 1
