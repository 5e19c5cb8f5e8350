"""Command lines in backquotes, read and never run: what they would do to a Linux host becomes settings.

    sysctl [-q] net.ipv4.NAME=VALUE …                      settings[NAME] = VALUE
    …/set_sysctls.py /proc/sys/net/ipv4/NAME=VALUE …       the same
    echo VALUE > /proc/sys/net/ipv4/NAME                   the same
    …/defaults.sh                                          nothing: DEFAULTS hold in every script
    …/sysctl_restore_*.sh                                  nothing: every script has a stack of its own
    tc qdisc add|replace dev tun0 root fq                  pacing
    tc qdisc add|replace dev tun0 root pfifo [limit 0]     a queue without (with) no room at all
    ethtool, ip tcp_metrics, modprobe, sleep               nothing

What is not in this table is noted, and the note goes with the script's verdict.
"""

from __future__ import annotations

import re
import shlex

DEFAULTS = {
    "tcp_timestamps": "1",
    "tcp_sack": "1",
    "tcp_dsack": "1",
    "tcp_window_scaling": "1",
    "tcp_syn_retries": "5",
    "tcp_synack_retries": "5",
    "tcp_frto": "2",
    "tcp_reordering": "3",
    "tcp_congestion_control": "cubic",
    "tcp_slow_start_after_idle": "0",
    "tcp_early_retrans": "4",
    "tcp_recovery": "1",
}
"""What the published scripts' common file sets, as far as a stack has something of the kind."""

_SYSCTL = re.compile(r"(?:/proc/sys/)?net[./]ipv4[./](\w+)=(.*)", re.DOTALL)
_NOTHING = ("ethtool", "ip tcp_metrics", "modprobe", "sleep", "true", "ulimit", "#")


class Host:
    """What the commands so far have set."""

    def __init__(self) -> None:
        self.settings = dict(DEFAULTS)
        self.pacing = False
        self.full = False
        """The queue below has no room."""
        self.notes: list[str] = []

    def run(self, text: str) -> None:
        text = re.sub(r"\\\n", " ", text)
        for line in re.split(r"\n|;|&&|\|\|", text):
            line = line.split(" #")[0].strip()
            if line and not line.startswith(_NOTHING):
                self._run_line(line)

    def _run_line(self, line: str) -> None:
        words = shlex.split(line)
        command = words[0].rsplit("/", 1)[-1]
        if command == "tc":
            self._queue(words)
        elif command == "echo" and ">" in words and words[-1].startswith("/proc/sys/"):
            self._set(f"{words[-1]}={words[1]}", line)
        elif command in ("sysctl", "set_sysctls.py"):
            for word in words[1:]:
                if not word.startswith(("-", ">", "2>", "/dev/")):
                    self._set(word, line)
        elif command != "defaults.sh" and not command.startswith("sysctl_restore_"):
            self.notes.append(f"not translated: {line}")

    def _set(self, assignment: str, line: str) -> None:
        match = _SYSCTL.fullmatch(assignment)
        if match is None:
            self.notes.append(f"not translated: {line}")
        else:
            self.settings[match[1]] = match[2]

    def _queue(self, words: list[str]) -> None:
        if "del" in words or "delete" in words:
            self.pacing = self.full = False
        elif "root" in words:
            self.pacing = "fq" in words
            self.full = "limit" in words and words[words.index("limit") + 1] == "0"
