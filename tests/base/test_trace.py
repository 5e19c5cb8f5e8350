from __future__ import annotations

from tsnet.base.trace import Trace, trace_of


def test_a_room_has_a_trace_if_the_node_has_a_tracer() -> None:
    said: list[object] = []

    def tracer(room: str, /) -> Trace:
        def trace(event: str, /, **fields: object) -> None:
            said.append((room, event, fields))

        return trace

    assert trace_of(None, "derp") is None
    trace = trace_of(tracer, "derp")
    assert trace is not None
    trace("link opened", region=7)
    assert said == [("derp", "link opened", {"region": 7})]
