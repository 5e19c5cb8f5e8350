"""Attacks by name, and for each the test that fails if this project lets it through. A row whose test is gone fails.

Who means harm stands before the colon, as in the table "How it is tried" of docs/security.md, which this one divides
further. The scenes themselves are where the names lead: this file holds none.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import test_hostile_control, test_hostile_relay
from tests.attacks import http2

HERE = Path(__file__).parent
CONTROL, STREAMS, RELAY = "test_hostile_control.py", "test_hostile_streams.py", "test_hostile_relay.py"
DISCO, NOISE, FLOODS = "disco/test_hostile.py", "control/test_transport.py", "control/test_floods.py"
KEYS, ASKED, C2N = "control/client/test_serverkey.py", "control/client/test_pings.py", "control/client/test_c2n.py"

ATTACKS: dict[str, tuple[str, str]] = {
    # what a relay may say beside the lies of RELAY
    "relay: its key is none": ("derp/test_client.py", "test_a_key_that_is_none_ends_the_attempt"),
    "relay: forged or cut greeting": ("derp/test_login.py", "test_a_truncated_or_forged_server_info_is_malformed"),
    "relay: silent": (
        "derp/test_client.py", "test_silence_of_two_minutes_ends_the_connection_and_any_byte_puts_it_off"),
    "relay: flood": ("derp/test_floods.py", "test_a_relay_that_floods_its_client_is_left"),
    "relay: lies about packets": (RELAY, "test_a_relay_that"),
    "relay: fills memory": (RELAY, "test_a_relay_fills_no_memory_with"),
    "relay: damaged frames": ("test_fuzz.py", "test_a_derp_client"),
    # disco
    "disco: forged": (DISCO, "test_forged_datagrams"),
    "disco: replayed": (DISCO, "test_what_is_overheard_and_sent_again_from_anywhere"),
    "disco: reflected": (DISCO, "test_our_own_datagrams_sent_back_to_us"),
    "disco: oversized": (DISCO, "test_an_enormous_ping_is_answered_by_a_small_pong"),
    "disco: a stranger's ping, pong and call": (DISCO, "test_a_strangers_messages"),
    "disco: wrong transaction": (DISCO, "test_pongs_for_pings_that_were_never_sent"),
    "disco: pong by a relay": (DISCO, "test_a_pong_through_the_relay_proves_no_address"),
    "disco: call from elsewhere": (DISCO, "test_a_call_by_udp_or_through_the_relay_from_another_node"),
    "disco: loopback, multicast and own addresses": (DISCO, "test_a_peers_call_with_addresses_that_are_no_hosts"),
    "disco: endless calls": (DISCO, "test_a_peers_endless_calls_make_a_bounded_number_of_pings"),
    "disco: endless endpoints": ("disco/test_candidates.py", "test_a_list_of_any_length_is_cut"),
    "disco: five pings a second": ("disco/test_pace.py", "test_in_any_second_at_most_five"),
    "disco: key of low order": (DISCO, "test_a_disco_key_of_low_order_leaves_its_peer_to_the_relay"),
    "disco: damaged": ("test_fuzz_paths.py", "test_what_the_peer_seals"),
    # STUN and the router's protocols
    "STUN: forged, replayed and reflected": (
        "netcheck/test_probes.py", "test_bad_bytes_and_answers_that_nobody_asked_for_are_counted"),
    "STUN: a stranger asks": ("netcheck/test_stun.py", "test_a_stranger_gets_no_answer"),
    "STUN: damaged": ("test_fuzz_paths.py", "test_stun"),
    "NAT-PMP and PCP: forged and oversized": (
        "portmap/test_attempt.py", "test_what_is_forged_changes_nothing_and_is_not_answered"),
    "NAT-PMP and PCP: replayed": ("portmap/test_attempt.py", "test_what_is_replayed_is_not_answered_again"),
    "NAT-PMP and PCP: flood": (
        "portmap/test_mapper.py",
        "test_an_hour_of_a_flood_of_replies_that_nobody_asked_for_sends_nothing_and_keeps_nothing"),
    "router: no more than the timers send": (
        "portmap/test_mapper.py", "test_a_hostile_router_gets_no_more_than_the_timers_send"),
    "UPnP: off unless it is asked for": ("portmap/test_mapper.py", "test_upnp_is_off_unless_it_is_switched_on"),
    "UPnP: location elsewhere": ("portmap/test_upnp.py", "test_a_location_elsewhere_is_never_asked"),
    "UPnP: service elsewhere": ("portmap/test_upnp.py", "test_a_service_elsewhere_is_never_called"),
    "UPnP: redirect": ("portmap/test_upnp.py", "test_a_redirect_is_not_followed"),
    "UPnP: bomb": ("portmap/test_upnp.py", "test_bombs_come_to_nothing_and_take_no_memory"),
    "UPnP: endless answer": ("portmap/test_upnp.py", "test_a_router_that_never_ends_its_answer_is_left_in_time"),
    # Noise
    "Noise: wrong machine key": (NOISE, "test_the_wrong_server_cannot_answer"),
    "Noise: changed key, nothing shown": (KEYS, "test_a_changed_key_at_the_start_is_fatal_and_sees_nothing"),
    "Noise: changed key of a running node": (
        KEYS, "test_a_running_node_keeps_its_map_and_recovers_when_the_old_key_answers"),
    "Noise: downgrade": (NOISE, "test_another_version_in_the_header_breaks_the_handshake"),
    "Noise: more than 4096 bytes": (NOISE, "test_frames_that_cannot_be_records_end_the_stream"),
    "Noise: truncated": (NOISE, "test_a_short_initiation_is_refused"),
    "Noise: replayed": (NOISE, "test_a_replayed_record_ends_the_stream"),
    "Noise: key of low order": (NOISE, "test_an_ephemeral_key_of_low_order_is_refused"),
    "Noise: damaged": (NOISE, "test_a_response_with_a_flipped_bit_never_establishes"),
    # HTTP/2: each attack of tests/attacks
    "HTTP/2: on the server": (FLOODS, "test_an_attack_on_the_server_is_closed_and_the_innocent_are_answered"),
    "HTTP/2: what the server keeps": (FLOODS, "test_what_an_attack_makes_the_server_keep_is_bounded"),
    "HTTP/2: on a node": (FLOODS, "test_a_control_server_that_attacks_is_left"),
    "HTTP/2: damaged": ("test_fuzz.py", "test_a_layer_of_control"),
    # HTTP/1
    "HTTP/1: GET *, CONNECT of a WSGI app": (
        "adapters/test_wsgi.py", "test_ts_2026_008_a_target_that_is_no_path_is_answered"),
    "HTTP/1: GET *, CONNECT of an ASGI app": (
        "adapters/test_asgi.py", "test_ts_2026_008_a_target_that_is_no_path_is_answered"),
    "HTTP/1: long heads": ("http1/test_asking.py", "test_heads_are_bounded_however_they_come"),
    "HTTP/1: what is no answer": ("http1/test_asking.py", "test_what_is_no_answer_is_malformed"),
    "HTTP/1: crumbs": ("http1/test_asking.py", "test_a_body_in_crumbs_is_a_flood"),
    "HTTP/1: upgrade": ("control/test_upgrade.py", "test_any_other_answer_is_no_switch"),
    # maps
    "map: refused": (CONTROL, "test_a_message_that_is_refused"),
    "map: harmless": (CONTROL, "test_a_message_that_harms_nobody"),
    "map: refused, a whole node": (STREAMS, "test_what_is_refused_leaves_the_map_and_the_stream_and_is_told"),
    "map: harmless, a whole node": (STREAMS, "test_what_is_taken_harms_neither_the_stream_nor_the_innocent"),
    "map: bombs": ("test_bombs.py", "test_a_map_message"),
    "map: endless": ("control/client/test_mapsession.py", "test_no_table_grows_for_ever"),
    "map: damaged": (CONTROL, "test_messages_that_are_damaged"),
    # what control asks for
    "asks: fixed routes alone": (C2N, "test_other_paths_are_unknown"),
    "asks: a URL elsewhere": (ASKED, "test_what_is_not_done_is_counted"),
    "asks: what only looks like a URL": (ASKED, "test_what_only_looks_like_a_url_is_asked_of_nobody"),
    "asks: a redirect": (ASKED, "test_no_redirect_is_followed"),
    "asks: too often": (ASKED, "test_control_may_ask_only_so_often"),
    "asks: the same again": (ASKED, "test_the_same_url_is_answered_once"),
    "asks: of a real control server": ("interop/test_asked_by_testcontrol.py", "test_a_url_elsewhere_is_not_asked"),
}  # fmt: skip
"""The file below tests/, and the function."""

NAMED = {
    "relay": {lie.__name__ for lie in test_hostile_relay.LIES},
    "HTTP/2": set(http2.ON_SERVER),
    "map": test_hostile_control.REFUSED.keys() | test_hostile_control.HARMLESS.keys(),
}
"""Scenes of one test that have names of their own."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_has_its_test(attack: str) -> None:
    file, function = ATTACKS[attack]
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in found if node.name == function] == [function]


def test_those_with_names_of_their_own_are_as_many_as_they_were() -> None:
    assert len(NAMED["relay"]) >= 12
    assert len(NAMED["map"]) >= 48
    assert {
        "rapid_reset", "continuation_flood", "ping_flood", "settings_flood", "tiny_data", "hpack_bomb",
        "window_updates", "zero_window",
    } <= NAMED["HTTP/2"]  # fmt: skip
