"""Commands, read and not run."""

from __future__ import annotations

import pytest

from tests.scripts.shell import DEFAULTS, Host


def host(text: str) -> Host:
    made = Host()
    made.run(text)
    return made


@pytest.mark.parametrize(
    "text",
    [
        "sysctl -q net.ipv4.tcp_sack=0",
        "sysctl -q net/ipv4/tcp_sack=0",
        "../common/set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0",
        "echo 0 > /proc/sys/net/ipv4/tcp_sack",
        "../common/defaults.sh\n../set_sysctls.py /proc/sys/net/ipv4/tcp_ecn=1 \\\n /proc/sys/net/ipv4/tcp_sack=0",
    ],
)
def test_settings(text: str) -> None:
    made = host(text)
    assert made.settings["tcp_sack"] == "0"
    assert not made.notes


def test_values_with_blanks() -> None:
    assert host('sysctl -w net.ipv4.tcp_wmem="1 2 3"').settings["tcp_wmem"] == "1 2 3"


@pytest.mark.parametrize(
    "text",
    ["../common/defaults.sh", "/tmp/sysctl_restore_${PPID}.sh", "ethtool -K tun0 tso off", "# a remark", "", "sleep 1"],
)
def test_what_means_nothing_here(text: str) -> None:
    made = host(text)
    assert made.settings == DEFAULTS
    assert not made.notes


def test_queues() -> None:
    assert host("tc qdisc replace dev tun0 root fq").pacing
    full = host("tc qdisc delete dev tun0 root 2>/dev/null ; tc qdisc add dev tun0 root pfifo limit 0")
    assert full.full
    full.run("tc qdisc replace dev tun0 root pfifo")
    assert not full.full


@pytest.mark.parametrize("text", ["echo 3 > /sys/module/x/y", "reboot", "sysctl -q net.core.x=1"])
def test_what_is_not_translated_is_noted(text: str) -> None:
    assert host(text).notes == [f"not translated: {text}"]
