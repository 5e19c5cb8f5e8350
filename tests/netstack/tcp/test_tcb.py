"""The control block: its timers are all in the table, its sizes add up, it is small."""

from __future__ import annotations

import math
import tracemalloc

import pytest

from netstack.tcp import tcb as module
from netstack.tcp.reassembly import OutOfOrder
from netstack.tcp.tcb import TIMERS, Tcb
from netstack.wire import tcp
from tests.netstack.pair import A4, A6, B4, B6


def new(*, v6: bool = False, mtu: int = 1280) -> Tcb:
    local, remote = (A6, B6) if v6 else (A4, B4)
    return Tcb(local.packed, 1000, remote.packed, 80, iss=7, stamp_offset=0, mtu=mtu, now=1000.0)


def test_every_slot_that_is_an_instant_to_come_is_a_timer() -> None:
    assert {name for name in Tcb.__slots__ if name.endswith("_at")} == set(TIMERS)


@pytest.mark.parametrize("name", TIMERS)
def test_the_deadline_is_the_least_of_all_timers(name: str) -> None:
    tcb = new()
    assert tcb.deadline() == math.inf
    for other in TIMERS:
        setattr(tcb, other, 2000.0)
    setattr(tcb, name, 1500.0)
    assert tcb.deadline() == 1500.0


def test_all_timers_stop_at_once() -> None:
    tcb = new()
    for name in TIMERS:
        setattr(tcb, name, 2000.0)
    tcb.stop_timers()
    assert {name: getattr(tcb, name) for name in TIMERS} == dict.fromkeys(TIMERS, math.inf)


@pytest.mark.parametrize("v6", [False, True])
def test_the_key_is_what_a_packet_of_the_peer_has(v6: bool) -> None:
    tcb = new(v6=v6)
    packet = tcp.build(tcb.remote, 80, tcb.local, 1000, seq=0, flags=tcp.ACK)
    assert packet[(tcp.V6 if v6 else tcp.V4).key] == tcb.key


@pytest.mark.parametrize(("v6", "stamps", "mss"), [(False, True, 1228), (False, False, 1240), (True, True, 1208)])
def test_a_full_segment_fills_the_mtu(v6: bool, stamps: bool, mss: int) -> None:
    tcb = new(v6=v6)
    tcb.peer_mss, tcb.ts_ok = 9000, stamps
    tcb.set_mss()
    assert tcb.mss == mss
    assert tcb.mss + tcb.header_size == 1280
    assert tcb.advertised_mss == (1220 if v6 else 1240)


def test_the_peers_mss_counts_and_is_even() -> None:
    tcb = new()
    tcb.peer_mss = 537
    tcb.set_mss()
    assert tcb.mss == 536


def test_stamps_are_milliseconds_with_an_offset() -> None:
    tcb = new()
    tcb.stamp_offset = 0xFFFF_FFFF
    assert tcb.stamp(1.5) == 1499


def test_the_send_buffer_follows_the_window_within_bounds() -> None:
    tcb = new()
    assert tcb.send_limit == module.INITIAL_SEND_LIMIT
    tcb.congestion.cwnd = 1e6
    assert tcb.send_limit == 2_000_000
    tcb.congestion.cwnd = 1e9
    assert tcb.send_limit == module.MAX_SEND_LIMIT


def test_an_idle_one_takes_less_than_four_kibibytes() -> None:
    new()
    tracemalloc.start()
    kept = [new() for _ in range(100)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(kept) < 4096


def test_the_buffers_grow_to_what_was_promised() -> None:
    assert (module.MAX_RECEIVE_LIMIT, module.MAX_SEND_LIMIT) == (8 << 20, 6 << 20)


def test_the_fin_has_the_number_behind_the_stream() -> None:
    tcb = new()
    tcb.send_buffer.append(b"abc", tcb.snd_nxt)
    end = tcb.send_buffer.end
    assert end == tcb.iss + 4
    seen = []
    for una, nxt in ((end, end), (end, end + 1), (end + 1, end + 1)):
        tcb.snd_una, tcb.snd_nxt = una, nxt
        seen.append((tcb.fin_sent, tcb.fin_acked))
    assert seen == [(False, False), (True, False), (True, True)]


def test_the_window_scale_is_the_least_with_which_the_greatest_buffer_fits() -> None:
    assert 65_535 << module.WINDOW_SCALE - 1 < module.MAX_RECEIVE_LIMIT <= 65_536 << module.WINDOW_SCALE
    assert module.INITIAL_RECEIVE_LIMIT == 1 << 20
    assert module.INITIAL_SEND_LIMIT == 1 << 18


def test_where_memory_is_scarce_each_has_64_kib_to_send_unless_its_buffer_is_fixed() -> None:
    tcb = new()
    tcb.memory.held = tcb.memory.plenty + 1
    assert tcb.send_limit == 65_536
    tcb.fixed_send_limit = 100_000
    assert tcb.send_limit == 100_000


def test_the_stacks_memory_knows_what_waits_either_way() -> None:
    tcb = new()
    tcb.memory.held = 1000  # of others
    tcb.receive_buffer.append(bytes(10))
    tcb.send_buffer.append(bytes(200), tcb.snd_nxt)
    tcb.charge()
    assert (tcb.memory.held, tcb.charged) == (1210, 210)
    tcb.out_of_order = OutOfOrder()
    tcb.out_of_order.insert(500, bytes(3))
    tcb.send_buffer.release(tcb.iss + 101)
    tcb.charge()
    assert (tcb.memory.held, tcb.charged) == (1113, 113)


@pytest.mark.parametrize(("stalled", "timeout", "at"), [(1000.0, None, 1001), (999.5, 1.0, 1000.5), (990, 1.0, 1000)])
def test_the_retransmission_timer_does_not_outlast_the_users(stalled: float, timeout: float | None, at: float) -> None:
    tcb = new()
    tcb.stalled_time, tcb.user_timeout = stalled, timeout
    tcb.arm_rto(1000.0)
    assert tcb.rto_at == at


def test_a_new_first_number_moves_everything_that_is_to_be_sent() -> None:
    tcb = new()
    tcb.restart(1_000_000)
    assert {tcb.iss, tcb.snd_una, tcb.snd_nxt, tcb.small_end} == {1_000_000}
    assert (tcb.send_buffer.start, tcb.send_buffer.end) == (1_000_001, 1_000_001)


@pytest.mark.parametrize(("limit", "said"), [(65_535, 1240), (1240, 1240), (1239, 1239)])
def test_what_the_syn_offers_is_within_the_application_s_limit(limit: int, said: int) -> None:
    tcb = new()
    tcb.mtu = 1000  # the way there may be narrower than our link
    tcb.max_segment = limit
    assert tcb.advertised_mss == said
