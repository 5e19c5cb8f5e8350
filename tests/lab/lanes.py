"""Streams between nodes that go on by themselves, and for how long each was silent when.

    with Lanes(players, [("a", "b")]) as lanes:
        …
        lanes.silence("a", "b", since=began, until=ended)

A lane is a thread that asks a numbered question ten times a second, and reads the answer before it asks the next one:
so an answer tells that both directions work. One that ends tells its error, and does not go on.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Self

from tests.interop.harness.streams import StreamsProgram

STEP = 0.1
LIMIT = 600.0
"""Seconds after which a stream is given up."""
Pair = tuple[str, str]


class Lane:
    """answers: when each came. error: why there will be no more, empty while there may be."""

    def __init__(self, player: StreamsProgram, address: str) -> None:
        self.answers: list[float] = [time.monotonic()]
        self.error = ""
        self._player, self._address = player, address
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lane to {address}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            stream = self._player.open(self._address)
            for number in itertools.count():
                if self._ended.wait(STEP):
                    return self._player.close_stream(stream)
                question = b"%8d" % number
                self._player.write(stream, question)
                answer = self._player.read(stream, len(question), timeout=LIMIT)
                if answer != question:
                    raise AssertionError(f"{answer!r} instead of {question!r}")
                self.answers.append(time.monotonic())
        except Exception as error:
            if not self._ended.is_set():
                self.error = f"{type(error).__name__}: {str(error).splitlines()[0]}"

    def silence(self, since: float, until: float) -> float:
        """The longest that no answer came, of the pauses that lie in these times at least in part."""
        times = [*self.answers, time.monotonic()]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times) if later > since and earlier < until]
        return max(pauses, default=0.0)

    def silence_after(self, since: float) -> float:
        """The longest of the pauses that began later than that."""
        times = [*self.answers, time.monotonic()]
        return max((b - a for a, b in itertools.pairwise(times) if a > since), default=0.0)

    @property
    def is_alive(self) -> bool:
        """It was answered just now."""
        return time.monotonic() - self.answers[-1] < 1.0

    def end(self) -> None:
        self._ended.set()
        self._thread.join(2)


class Lanes:
    """pairs: who asks whom, by their names; the other end listens on `port` and echoes."""

    def __init__(self, players: Mapping[str, StreamsProgram], pairs: Iterable[Pair], port: int = 7) -> None:
        pairs = list(pairs)
        for name in dict.fromkeys(to for _, to in pairs):
            players[name].listen(f":{port}", "echo")
        self.lanes = {pair: Lane(players[pair[0]], f"{pair[1]}:{port}") for pair in pairs}

    def await_all(self, timeout: float, count: int = 3) -> None:
        """Until each has answered that often."""
        end = time.monotonic() + timeout
        while not all(len(lane.answers) > count for lane in self.lanes.values()):
            errors = {pair: lane.error for pair, lane in self.lanes.items() if lane.error}
            assert not errors, errors
            assert time.monotonic() < end, (
                f"not all answer: { {pair: len(lane.answers) for pair, lane in self.lanes.items()} }"
            )
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes.values():
            lane.end()
