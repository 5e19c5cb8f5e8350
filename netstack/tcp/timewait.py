"""TIME_WAIT: what remains of a connection for a minute, so that old segments find an answer and no new connection.

A record is a tenth of a control block. They leave in the order they came; when there are too many, the oldest goes.

Source: RFC 9293 §3.10.7.4 (segments in TIME-WAIT), RFC 1122 §4.2.2.13 and RFC 6191 (a new SYN), RFC 1337 (RST is
ignored).
"""

from __future__ import annotations

import math
from collections import OrderedDict

from netstack.seq import MASK, is_older, unwrap
from netstack.tcp.tcb import Tcb
from netstack.wire import tcp
from netstack.wire.tcp import ACK, FIN, RST, SYN, Header, Options

TIME_WAIT_TIMEOUT = 60.0
MAX_RECORDS = 32_768
REUSE_AFTER = 1.0
"""How old a record must be before an own new connection may take its ports, if timestamps tell the two apart."""


class TimeWait:
    __slots__ = ("_ts_ok", "_ts_recent", "entered_time", "expires_time", "key", "rcv_nxt", "snd_nxt", "stamp_offset")

    def __init__(self, tcb: Tcb, now: float) -> None:
        self.key = tcb.key
        self.snd_nxt, self.rcv_nxt = tcb.snd_nxt, tcb.rcv_nxt
        self._ts_ok, self._ts_recent, self.stamp_offset = tcb.ts_ok, tcb.ts_recent, tcb.stamp_offset
        self.entered_time = now
        self.expires_time = now + TIME_WAIT_TIMEOUT

    def may_be_reused(self, now: float) -> bool:
        return self._ts_ok and now - self.entered_time >= REUSE_AFTER

    def is_new_connection(self, header: Header, options: Options) -> bool:
        """Whether this is a SYN that cannot be a late one of the old connection."""
        if header.flags & (SYN | ACK | RST) != SYN:
            return False
        if self._ts_ok and options.timestamps is not None:
            return is_older(self._ts_recent, options.timestamps[0])
        return unwrap(header.seq, self.rcv_nxt) > self.rcv_nxt

    def answer(self, header: Header, length: int, now: float) -> bytes | None:
        """The acknowledgement that a segment of the old connection asks for, if any. A FIN restarts the minute."""
        if header.flags & RST or (not length and not header.flags & (SYN | FIN) and self._is_expected(header)):
            return None
        if header.flags & FIN:
            self.expires_time = now + TIME_WAIT_TIMEOUT
        stamp = (int(now * 1000) + self.stamp_offset) & MASK
        half = (len(self.key) - 4) // 2
        remote, local, ports = self.key[:half], self.key[half:-4], self.key[-4:]
        return tcp.build(
            local,
            int.from_bytes(ports[2:], "big"),
            remote,
            int.from_bytes(ports[:2], "big"),
            seq=self.snd_nxt & MASK,
            ack=self.rcv_nxt & MASK,
            flags=ACK,
            options=tcp.timestamp_options(stamp, self._ts_recent) if self._ts_ok else b"",
        )

    def _is_expected(self, header: Header) -> bool:
        return unwrap(header.seq, self.rcv_nxt) == self.rcv_nxt


class TimeWaitTable:
    """All records, the one that expires first first. When that is, is kept: each turn asks."""

    __slots__ = ("_due", "_records")

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, TimeWait] = OrderedDict()
        self._due = math.inf

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: bytes) -> TimeWait | None:
        return self._records.get(key)

    def add(self, record: TimeWait) -> None:
        self._records[record.key] = record
        if len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)
        self._look_at_first()

    def restarted(self, record: TimeWait) -> None:
        self._records.move_to_end(record.key)
        self._look_at_first()

    def remove(self, key: bytes) -> None:
        if self._records.pop(key, None) is not None:
            self._look_at_first()

    def clear(self) -> None:
        self._records.clear()
        self._due = math.inf

    def deadline(self) -> float:
        return self._due

    def expire(self, now: float) -> None:
        while self._due <= now:
            self._records.popitem(last=False)
            self._look_at_first()

    def _look_at_first(self) -> None:
        self._due = next(iter(self._records.values())).expires_time if self._records else math.inf
