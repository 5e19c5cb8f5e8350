"""The benchmarks run and compare their bytes; how fast is not asked here. What needs Go is left to `make bench`."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from benchmarks import __main__ as bench
from benchmarks import (
    deltas,
    exchanges,
    floods,
    idle,
    joining,
    many_peers,
    netstack_costs,
    netstack_linux,
    netstack_pair,
    pairs,
    udp_port,
    whole_path,
)
from benchmarks.attacks.__main__ import ATTACKS
from benchmarks.attacks.tally import Pace, Tally, Target
from benchmarks.figures import Figure, Row, Skipped, median, table
from benchmarks.programs import LOOPBACK, ROOT, Bystanders, Counters, OurNode
from tests.interop.harness.lines import Lines
from tests.netstack import tun
from tsnet.testing.tailnet import Tailnet

FOLDER = Path(bench.__file__).parent


def names(rows: list[Row]) -> list[str]:
    assert all(isinstance(row, Figure) and row.value > 0 for row in rows), rows
    return [row.name for row in rows]


def test_a_figure_holds_its_floor_or_not() -> None:
    assert Figure("a", 1.0).holds
    assert Figure("a", 0.25, floor=0.25).holds
    assert not Figure("a", 0.24, floor=0.25).holds
    assert Figure("a", 99.0, floor=100.0, at_most=True).holds
    assert not Figure("a", 101.0, floor=100.0, at_most=True).holds


def test_the_table_tells_what_was_missed_and_what_was_skipped() -> None:
    rows: list[Row] = [
        median("a: b", [1.0, 3.0, 2.0], "us"),
        Figure("c", 1.0, floor=2.0, goal=3.0),
        Skipped("d", "no Go"),
    ]
    head, first, second, third = table(rows).splitlines()
    assert head.split() == ["floor", "goal"]
    assert first.split() == ["a:", "b", "2", "us", "1", "to", "3,", "n=3"]
    assert second.split() == ["c", "1", ">=2", ">=3", "MISSED"]
    assert third.split() == ["d", "skipped", "no", "Go"]


def test_the_gate_fails_when_a_floor_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missed: list[Row] = [Figure("slow", 0.1, floor=0.2)]
    monkeypatch.setattr(bench, "FLOORS", {"whole_path": lambda: missed})
    monkeypatch.setattr(bench, "ALL", {"whole_path": lambda: missed})
    monkeypatch.setattr("sys.argv", ["benchmarks", "--floors"])
    assert bench.main() == 1
    assert "missed: slow" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    assert bench.main() == 0


def test_what_was_skipped_is_missed_only_where_it_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [Figure("a", 1.0, floor=1.0), Skipped("b", "no Go")]
    monkeypatch.delenv("TSNET_REQUIRE_INTEROP", raising=False)
    assert bench.missed(rows) == ""
    monkeypatch.setenv("TSNET_REQUIRE_INTEROP", "1")
    assert bench.missed(rows) == "b"


def test_every_module_with_a_run_is_in_the_list() -> None:
    runners = {
        path.stem
        for path in FOLDER.glob("*.py")
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in ast.parse(path.read_text()).body)
    }
    assert runners == bench.ALL.keys()
    assert bench.FLOORS.keys() < bench.ALL.keys()


def test_netstack_alone() -> None:
    assert len(names(netstack_pair.run(size=1 << 18, rounds=1))) == 3


def test_what_a_delta_costs() -> None:
    assert len(names(deltas.run(scale=0.005, rounds=1))) == 5


def test_many_peers() -> None:
    memory, turns, packet = many_peers.run(turns=200, talkers=2, count=20)
    assert len(names([memory, packet])) == 2
    assert isinstance(turns, Figure)
    assert turns.value == 0


def test_what_must_stay_flat() -> None:
    assert len(names(netstack_costs.run(scale=0.003, rounds=1))) == 8


@pytest.mark.interop
@pytest.mark.skipif(tun.why_not() is not None, reason=str(tun.why_not()))
def test_beside_linux() -> None:
    assert len(names(netstack_linux.run(pairs=1, seconds=0.5, shares=False))) == 3


def test_the_udp_port_alone() -> None:
    assert len(names(udp_port.run(rounds=2))) == 4


@pytest.fixture(scope="module")
def pair() -> object:
    with Tailnet() as tailnet, pairs.our_pair(tailnet, "pair") as ends:
        yield ends


def test_seal_and_open_alone() -> None:
    sealing = whole_path.Sealing(1 << 18)
    assert sealing() > 0


def test_the_whole_path_moves_the_bytes_that_were_given(pair: tuple[OurNode, OurNode]) -> None:
    contenders: dict[str, whole_path.Contender] = {
        whole_path.SEALING: whole_path.Sealing(1 << 18),
        whole_path.PURE: whole_path.WholePath(*pair, 1 << 18),
    }
    measured = list(whole_path.interleave(1, contenders))
    assert measured[0].keys() == contenders.keys()
    assert names(whole_path.ratios(measured))[0] == "whole path: pure Python / seal+open"


def test_round_trips_connections_and_both_beside_a_stream(pair: tuple[OurNode, OurNode]) -> None:
    sender, receiver = pair
    rows = [
        *exchanges.round_trips("ours", sender, receiver.hostname, 10),
        *exchanges.connections("ours", sender, receiver.hostname, 3),
        *exchanges.beside_bulk(sender, receiver, 1 << 20, rounds=1),
    ]
    assert len(names(rows)) == 6


def test_two_of_ours_are_measured_on_a_direct_path_or_not_at_all(pair: tuple[OurNode, OurNode]) -> None:
    sender, receiver = pair
    assert pairs.path_to(sender, receiver.hostname).startswith("direct ")
    pairs.still_direct(sender, receiver.hostname)
    with pytest.raises(SystemExit, match="was direct, and is now: none"):
        pairs.still_direct(sender, "nobody")


def test_every_pair_is_a_row_and_ours_stand_beside_gos(pair: tuple[OurNode, OurNode]) -> None:
    ends = pairs.Ends(*pair, pair[1].hostname)
    rows = exchanges.every_pair({exchanges.OURS: ends, exchanges.GO: ends}, 40, 1 << 18, 1)
    assert [name for name in names(rows) if name.endswith("ours / Go")] == [
        f"direct path: {what}, ours / Go" for what in ("round trip", "connections", "stream")
    ]


def test_what_an_idle_node_costs_is_read_from_proc(pair: tuple[OurNode, OurNode]) -> None:
    pid = pair[0].process.pid
    counters = Counters.of(pid)
    assert counters.cpu > 0
    assert counters.wakes > 0
    assert 5 < counters.rss < 500
    assert len(idle.rows({"ours": counters})) == 3


def test_bystanders_are_all_programs_but_those_named() -> None:
    end = time.monotonic() + 0.15
    all_but_us, all_but_another = Bystanders(), Bystanders(os.getppid())
    while time.monotonic() < end:
        pass
    assert 0 <= all_but_us.cores() <= (os.cpu_count() or 1)
    assert all_but_another.cores() <= (os.cpu_count() or 1)


def test_a_process_and_a_second_server_join_and_are_answered(pair: tuple[OurNode, OurNode]) -> None:
    with Tailnet() as tailnet, OurNode("other", tailnet.control_url, tailnet.auth_key) as other:
        other.up()
        other.call("listen", address=":7", mode="echo")
        assert joining.cold_process("cold", tailnet, "other:7") > 0
        assert joining.warm_process(other, "warm", "other:7") > 0


def test_a_start_without_bytecode_is_told() -> None:
    with joining.bytecode() as environment:
        unwritten = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
        assert joining.share_compiled(unwritten) == 0
        joining.process("import tsnet; tsnet.Server", environment)
        assert joining.share_compiled(unwritten) == 100


def test_a_plain_stream_of_the_system_for_comparison() -> None:
    program = [sys.executable, str(FOLDER / "plain_stream.py")]
    port = str(free_tcp_port())
    with subprocess.Popen([*program, "sink", LOOPBACK, port], stdout=subprocess.PIPE, text=True) as sink:
        sent = subprocess.run([*program, "send", LOOPBACK, port, "100000"], capture_output=True, text=True, check=True)
        got, _ = sink.communicate(timeout=10)
    assert sent.stdout.split()[:2] == got.split()[:2]


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[Lines, Lines, Target]]:
    with floods.scene(ROOT) as ends:
        yield ends


def test_what_an_innocent_peer_notices(scene: tuple[Lines, Lines, Target]) -> None:
    _, innocent, _ = scene
    noticed = floods.notice(innocent, 0.1, 80)
    assert 0 < noticed.p50 <= noticed.p99
    assert noticed.transfer > 0
    assert noticed.change > 0
    assert all(innocent.call("request", port=port) > 0 for port in (10, 81, 91))


def test_an_attacker_says_what_it_has_done(scene: tuple[Lines, Lines, Target]) -> None:
    victim, _, target = scene
    with floods.Attacker("at control", "ping_flood", attrs.evolve(target, rate=10_000.0)) as attacker:
        assert attacker.said["frames"] > 0
    assert not attacker._process.alive
    assert victim.process.alive


def test_a_flood_is_told_beside_the_quiet_figures() -> None:
    quiet, flooded = floods.Noticed(1.0, 2.0, 0.1, 0.2, 0.3), floods.Noticed(10.0, 200.0, 1.0, 2.0, 3.0)
    measured = floods.Measured("some", quiet, flooded, 5.0, 7.0, 0.5, {"frames": 7})
    rows = floods.rows(measured, floors=True)
    assert [row.name for row in rows if isinstance(row, Figure) and not row.holds] == ["flood: some, p99"]
    assert all(row.holds for row in floods.rows(measured) if isinstance(row, Figure))
    assert "2 > 200" in floods.table([measured])
    slower = attrs.evolve(measured, rss=9.0, flooded=attrs.evolve(flooded, p99=300.0))
    assert floods.median([measured, slower, slower]) == slower


def test_every_flood_has_an_attack() -> None:
    assert all(name in ATTACKS[where] for where, name in (flood.attack for flood in floods.FLOODS))
    assert len({flood.name for flood in floods.FLOODS}) == len(floods.FLOODS)


NIGHTLY = os.environ.get("TSNET_NIGHTLY") == "1"
LET_LOOSE = floods.FLOODS if NIGHTLY else floods.FLOODS[4::5]


@pytest.mark.slow
@pytest.mark.parametrize("flood", LET_LOOSE, ids=lambda flood: flood.name)
def test_each_flood_is_let_loose(flood: floods.Flood) -> None:
    measured = floods.measure_one(attrs.evolve(flood, rate=min(flood.rate, 20_000.0)), 0.1)
    assert sum(measured.done.values()) > 0


def test_a_pace_is_kept_by_all_together() -> None:
    pace, begun = Pace(1_000.0), time.monotonic()
    for _ in range(10):
        pace.wait(5)
    assert time.monotonic() - begun >= 0.04


def test_a_tally_tells_the_first_thing_at_once() -> None:
    told: list[str] = []
    tally = Tally(told.append)
    tally.add("frames", 3)
    tally.add("frames", 4)
    assert told == ['{"frames": 3}']
    tally.say(port=1)
    assert told[1] == '{"frames": 7, "port": 1}'
    target = Target(hostname="a", control=1, rate=2.5)
    assert Target.decode(target.encode()) == target


def free_tcp_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])
