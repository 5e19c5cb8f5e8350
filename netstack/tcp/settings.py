"""What the owner of a stack may set for all its TCP connections.

New connections look at it when they begin, timers whenever they fire.

Defaults are those of Linux, but for Nagle and the strategy, which `Stack` is given.
"""

from __future__ import annotations

from netstack.limits import RunLimits

_DEFAULT_RUNS = RunLimits()


class Settings:
    """One instance a stack."""

    __slots__ = (
        "congestion",
        "dsack",
        "fin_timeout",
        "frto",
        "nodelay",
        "orphan_retries",
        "reordering",
        "retries",
        "runs",
        "sack",
        "slow_start_after_idle",
        "syn_retries",
        "synack_retries",
        "tail_loss_probe",
        "timestamps",
        "window_scaling",
    )

    def __init__(self, *, nodelay: bool = False, congestion: str = "cubic", runs: RunLimits = _DEFAULT_RUNS) -> None:
        self.nodelay = nodelay
        self.congestion = congestion
        self.runs = runs
        self.timestamps = self.sack = self.dsack = self.window_scaling = True
        self.syn_retries, self.synack_retries = 6, 5
        self.retries = 15
        """Of data, before the peer counts as gone."""
        self.orphan_retries = 8
        """Of probes of a closed window, when the application has closed. Data that it has written is worth more."""
        self.fin_timeout = 60.0
        """Seconds that a closed connection waits for the peer's FIN."""
        self.reordering = 3
        """Duplicates, or segments sacked, that mean a loss."""
        self.frto = self.tail_loss_probe = self.slow_start_after_idle = True


DEFAULTS = Settings()
"""Of a control block that no stack has made."""
