"""Linux's tcp_info, made from netstack's TcpInfo: what `%{ }%` blocks read.

    tcpi_snd_cwnd tcpi_unacked …       counted in segments: bytes / the segment's size, rounded up
    tcpi_rtt tcpi_rto …                microseconds
    tcpi_last_data_recv …              milliseconds

A name whose field TcpInfo does not have raises Gap, which names the field.

Source: include/uapi/linux/tcp.h for the names and units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from netstack import TcpConnection
from tests.scripts.world import Gap

_STATES = (
    *("ESTABLISHED", "SYN_SENT", "SYN_RECEIVED", "FIN_WAIT_1", "FIN_WAIT_2", "TIME_WAIT"),
    *("CLOSED", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"),
)
"""In Linux's order, from 1."""

_LINUX_STATES = {"SYN_RECEIVED": "SYN_RECV", "FIN_WAIT_1": "FIN_WAIT1", "FIN_WAIT_2": "FIN_WAIT2", "CLOSED": "CLOSE"}
_CA_STATES = ("Open", "Disorder", "CWR", "Recovery", "Loss")
_INFINITE = 0x7FFFFFFF

CONSTANTS = {f"TCP_{_LINUX_STATES.get(name, name)}": number for number, name in enumerate(_STATES, 1)}
CONSTANTS |= {f"TCP_CA_{name}": number for number, name in enumerate(_CA_STATES)}
CONSTANTS |= {"TCPI_OPT_TIMESTAMPS": 1, "TCPI_OPT_SACK": 2, "TCPI_OPT_WSCALE": 4}


class _Info:
    """Fields by name, in the unit that a name of Linux wants."""

    def __init__(self, info: Any, now: float) -> None:
        self._info, self._now = info, now

    def raw(self, field: str) -> Any:
        if not hasattr(self._info, field):
            raise Gap(f"TcpInfo.{field}")
        return getattr(self._info, field)

    def segments(self, field: str) -> int:
        return math.ceil(float(self.raw(field)) / float(self._info.mss))

    def micros(self, field: str) -> int:
        return round(min(float(self.raw(field)), 4294.0) * 1e6)

    def since(self, field: str) -> int:
        """Milliseconds since an instant."""
        return round((self._now - float(self.raw(field))) * 1e3)


NAMES: dict[str, Callable[[_Info], int]] = {
    "tcpi_state": lambda info: _STATES.index(info.raw("state")) + 1,
    "tcpi_ca_state": lambda info: [name.upper() for name in _CA_STATES].index(info.raw("ca_state").upper()),
    "tcpi_retransmits": lambda info: int(info.raw("retries")),
    "tcpi_probes": lambda info: int(info.raw("probes")),
    "tcpi_backoff": lambda info: int(info.raw("backoff")),
    "tcpi_snd_wscale": lambda info: int(info.raw("send_scale")),
    "tcpi_rcv_wscale": lambda info: int(info.raw("receive_scale")),
    "tcpi_rto": lambda info: info.micros("rto"),
    "tcpi_snd_mss": lambda info: int(info.raw("mss")),
    "tcpi_advmss": lambda info: int(info.raw("advertised_mss")),
    "tcpi_rcv_mss": lambda info: int(info.raw("receive_mss")),
    "tcpi_pmtu": lambda info: int(info.raw("mtu")),
    "tcpi_unacked": lambda info: info.segments("outstanding"),
    "tcpi_sacked": lambda info: info.segments("sacked"),
    "tcpi_lost": lambda info: info.segments("lost"),
    "tcpi_retrans": lambda info: info.segments("retransmitting"),
    "tcpi_total_retrans": lambda info: info.segments("retransmitted"),
    "tcpi_snd_cwnd": lambda info: info.raw("cwnd") // info.raw("mss"),
    "tcpi_snd_ssthresh": lambda info: (
        _INFINITE if math.isinf(info.raw("ssthresh")) else int(info.raw("ssthresh") // info.raw("mss"))
    ),
    "tcpi_reordering": lambda info: int(info.raw("reordering")),
    "tcpi_reord_seen": lambda info: int(info.raw("reorderings")),
    "tcpi_dsack_dups": lambda info: int(info.raw("dsacks")),
    "tcpi_rcv_ooopack": lambda info: int(info.raw("out_of_order_packets")),
    "tcpi_rtt": lambda info: info.micros("srtt"),
    "tcpi_rttvar": lambda info: info.micros("rttvar"),
    "tcpi_min_rtt": lambda info: info.micros("min_rtt"),
    "tcpi_last_data_sent": lambda info: info.since("data_sent_time"),
    "tcpi_last_data_recv": lambda info: info.since("data_received_time"),
    "tcpi_last_ack_recv": lambda info: info.since("ack_received_time"),
    "tcpi_busy_time": lambda info: info.micros("busy_time"),
    "tcpi_rwnd_limited": lambda info: info.micros("window_limited_time"),
    "tcpi_sndbuf_limited": lambda info: info.micros("buffer_limited_time"),
    "tcpi_bytes_sent": lambda info: int(info.raw("bytes_sent")),
    "tcpi_bytes_retrans": lambda info: int(info.raw("retransmitted")),
    "tcpi_bytes_acked": lambda info: int(info.raw("bytes_acked")),
    "tcpi_bytes_received": lambda info: int(info.raw("bytes_received")),
    "tcpi_notsent_bytes": lambda info: int(info.raw("unsent")),
    "tcpi_snd_wnd": lambda info: int(info.raw("send_window")),
    "tcpi_rcv_wnd": lambda info: int(info.raw("receive_window")),
}


class Whatever(int):
    """Equal to every number: what an adaptation does not compare."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int)

    def __hash__(self) -> int:
        return 0


def value_of(name: str, connection: TcpConnection, now: float) -> int:
    """Raises Gap for what netstack does not tell."""
    if name not in NAMES:
        raise Gap(f"something for {name}")
    return NAMES[name](_Info(connection.info(), now))
