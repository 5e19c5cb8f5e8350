"""The paths are Go's own. Both ends at them: test_keyexchange, test_workload_identity."""

from __future__ import annotations

from tsnet.control.apipaths import API_PATH, AUTH_KEYS, BY_ID_TOKEN, BY_SECRET


def test_they_are_those_of_the_api() -> None:
    assert (BY_SECRET, BY_ID_TOKEN) == ("/api/v2/oauth/token", "/api/v2/oauth/token-exchange")
    assert AUTH_KEYS == "/api/v2/tailnet/-/keys"
    assert all(path.startswith(API_PATH) for path in (BY_SECRET, BY_ID_TOKEN, AUTH_KEYS))
