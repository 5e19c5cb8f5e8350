"""The numbers against the paper's table (WireGuard §6.1) and wireguard-go device/constants.go."""

from __future__ import annotations

import itertools

from tsnet.wireguard import constants


def test_the_papers_table() -> None:
    table = {
        "REKEY_AFTER_MESSAGES": 1_152_921_504_606_846_976,
        "REJECT_AFTER_MESSAGES": 18_446_744_073_709_543_423,
        "REKEY_AFTER_TIME": 120,
        "REJECT_AFTER_TIME": 180,
        "REKEY_ATTEMPT_TIME": 90,
        "REKEY_TIMEOUT": 5,
        "KEEPALIVE_TIMEOUT": 10,
    }
    assert {name: getattr(constants, name) for name in table} == table


def test_reject_after_messages_keeps_clear_of_the_wrap() -> None:
    assert constants.REJECT_AFTER_MESSAGES == 0xFFFF_FFFF_FFFF_DFFF


def test_what_follows_from_the_table() -> None:
    assert constants.LAST_MINUTE_REKEY_TIME == 165
    assert constants.NEW_HANDSHAKE_TIME == 15
    assert constants.WIPE_TIME == 540
    assert constants.UNDER_LOAD_HANDSHAKES == 128


def test_the_early_retries_keep_clear_of_the_responders_limit() -> None:
    times = (0.0, *constants.EARLY_RETRIES)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [round(gap, 6) for gap in gaps] == [0.3, 0.6, 0.9, 1.2, 1.5]
    assert min(gaps) > constants.RETRY_GAP > constants.INITIATION_GAP
    assert times[-1] < constants.REKEY_TIMEOUT
