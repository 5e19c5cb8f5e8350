"""A map session goes on where its stream broke off, if the server takes it up; else the map comes whole."""

from __future__ import annotations

import attrs

from tests.control.scripted import NODE_KEY, PEER, SELF, Scripted
from tsnet.base.keys import NodeKey
from tsnet.control.client.resumption import MAX_HANDLE, Resumption
from tsnet.control.messages import MapRequest, MapResponse, decode_map
from tsnet.netmap.merge import MapUpdate

REQUEST = MapRequest(NODE_KEY, None, stream=True)
WHOLE = MapResponse(MapUpdate(node=SELF, peers=(PEER,)), session_handle="s1", seq=1)
NAMED = attrs.evolve(PEER, name="renamed.example")
MORE = MapResponse(MapUpdate(peers_changed=(NAMED,)), seq=2)


def asked(some: Resumption, request: MapRequest = REQUEST) -> tuple[str, int]:
    found = some.asking(request)
    return found.session_handle, found.session_seq


def had(*later: MapResponse, first: MapResponse = WHOLE) -> Resumption:
    some = Resumption()
    some.asking(REQUEST)
    some.taken(first, is_first=True)
    for message in later:
        some.taken(message, is_first=False)
    return some


def test_both_messages_carry_it() -> None:
    request = attrs.evolve(REQUEST, session_handle="s1", session_seq=7)
    assert MapRequest.decode(request.encode()) == request
    assert b"MapSession" not in REQUEST.encode()
    assert (decode_map(WHOLE.encode()).session_handle, decode_map(WHOLE.encode()).seq) == ("s1", 1)


def test_what_was_taken_last_is_asked_for() -> None:
    assert asked(Resumption()) == ("", 0)
    assert asked(had()) == ("s1", 1)
    assert asked(had(MORE, MapResponse(keep_alive=True))) == ("s1", 2)
    assert asked(had(MORE, attrs.evolve(MORE, seq=1))) == ("s1", 2), "it never goes back"


def test_a_server_that_begins_anew_or_names_no_session() -> None:
    some = had(MORE)
    assert some.goes_on(attrs.evolve(MORE, session_handle="s1", seq=3))
    assert not some.goes_on(attrs.evolve(WHOLE, session_handle="s2"))
    some.taken(attrs.evolve(WHOLE, session_handle="s2", seq=1), is_first=True)
    assert asked(some) == ("s2", 1)
    assert not some.goes_on(MapResponse())
    some.taken(MapResponse(WHOLE.update), is_first=True)
    assert asked(some) == ("", 0)
    assert not some.goes_on(MapResponse())


def test_another_key_and_what_was_refused_ask_for_all() -> None:
    assert asked(had(), attrs.evolve(REQUEST, node_key=NodeKey(b"\x09" * 32))) == ("", 0)
    some = had(MORE)
    some.forget()
    assert asked(some) == ("", 0)


def test_a_handle_without_end_is_not_kept() -> None:
    assert asked(had(first=attrs.evolve(WHOLE, session_handle="x" * (MAX_HANDLE + 1)))) == ("", 0)


# --- on streams -------------------------------------------------------------------------------------------------


def joined() -> Scripted:
    control = Scripted()
    control.join()
    control.send_map(WHOLE)  # no handle counts but that of a stream's first message
    control.send(b"", end=True)
    control.wind(1)
    assert control.find("poll").map.session_handle == ""
    control.send_map(WHOLE)
    control.send_map(MORE)
    control.send(b"", end=True)
    control.wind(1)
    return control


def test_a_stream_that_goes_on_brings_changes_alone() -> None:
    control = joined()
    request = control.find("poll").map
    assert (request.session_handle, request.session_seq) == ("s1", 2)
    gone = MapResponse(MapUpdate(peers_removed=(PEER.id,)), session_handle="s1", seq=3)
    before = control.netmap
    assert [peer.name for peer in before.peers.values()] == ["renamed.example"]
    control.send_map(gone)
    assert control.netmap.peers == {}
    assert control.netmap.self_node == before.self_node
    control.send_map(MapResponse(MapUpdate(domain="later.example"), seq=4))
    control.cut()
    control.wind(2)
    assert control.find("poll").map.session_seq == 4


def test_a_stream_that_goes_on_may_have_nothing_new() -> None:
    control = joined()
    before = control.netmap
    control.send_map(MapResponse(session_handle="s1", seq=2))
    assert control.netmap == before
    assert control.node is not None
    assert control.node.is_connected


def test_a_stream_that_begins_anew_replaces_all() -> None:
    control = joined()
    control.send_map(MapResponse(MapUpdate(node=SELF), session_handle="s2", seq=1))
    assert control.netmap.peers == {}


def test_changes_without_the_session_are_refused_and_all_is_asked_for() -> None:
    control = joined()
    before = control.netmap
    control.send_map(MapResponse(MapUpdate(peers_removed=(PEER.id,)), session_handle="s9", seq=3))
    assert control.node is not None
    assert control.node.dropped["map-refused"] == 1
    assert control.netmap == before
    control.wind(1)
    assert control.find("poll").map.session_handle == ""
