"""What the owner of a stack may set for all its TCP connections.

A connection reads them when it begins, and its timers whenever they fire. The defaults are those of Linux.
"""

from __future__ import annotations

from netstack.limits import DEFAULT_RUNS, RunLimits


class Settings:
    """One stack's settings. Times are seconds."""

    __slots__ = (
        "answer_wait",
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

    def __init__(self, *, nodelay: bool = False, congestion: str = "cubic", runs: RunLimits = DEFAULT_RUNS) -> None:
        self.nodelay: bool = nodelay
        self.congestion: str = congestion
        self.runs: RunLimits = runs
        self.timestamps: bool = True
        self.sack: bool = True
        self.dsack: bool = True
        self.window_scaling: bool = True
        self.syn_retries: int = 6
        self.synack_retries: int = 5
        self.retries: int = 15
        """How often data is sent again before the peer counts as gone."""
        self.orphan_retries: int = 8
        """How often a closed window is probed once the application has closed. Data is still sent `retries` times."""
        self.fin_timeout: float = 60.0
        """How long a connection that the application has closed waits for the peer's FIN."""
        self.reordering: int = 3
        """How many duplicate acknowledgements, or segments sacked beyond it, make a segment count as lost."""
        self.answer_wait: float = 0.0
        """How long two acknowledgements wait for data that can carry them: that of a handshake which this side began,
        and that of a first short request. 0: they do not wait, as in Linux."""
        self.frto: bool = True
        self.tail_loss_probe: bool = True
        self.slow_start_after_idle: bool = True


DEFAULTS = Settings()
"""The settings of a control block that no stack has made."""
