"""The library's options and methods as the command line calls them. Errors name them (`tsnet.base.wording`).

None: a command has nothing of that kind, and the error's clause about it is left out. NEVER_SAID: no command sets it,
so that no error of a command speaks of it.
"""

from __future__ import annotations

WORDS: dict[str, str | None] = {
    "None": None,
    "allow=": "--allow",
    "allow_http=": "--allow-http",
    "allow_http=True": "--allow-http",
    "auth_key=": "--auth-key",
    "audience=": "--audience",
    "base_domain=": "--domain",
    "check=": "--check",
    "client_id=": "--client-id",
    "client_secret=": "--client-secret",
    "control_port=": "--port",
    "control_key=": "--control-key",
    "control_url=": "--control-url",
    "derp_port=": "--derp-port",
    "regions=": "--regions",
    "ephemeral=": "--ephemeral",
    "ephemeral=True": "--ephemeral",
    "host=": "--host",
    "explain()": "tsnet explain",
    "hostname=": "--hostname",
    "id_token=": "--id-token",
    "login()": "tsnet login",
    "max_connections=": None,
    "on_auth_url=": None,
    "proxy=": "--proxy",
    "shields_up=": "--shields-up",
    "ssl_context=": "--ca-file",
    "state=": "--state-dir",
    "status()": "tsnet status",
    "status().health": None,
    "stun_port=": "--stun-port",
    "threads=": None,
    "tags=": "--tag",
    "timeout=": "--timeout",
    "tls=": "--plain",
    "user=": "--user",
}
NEVER_SAID = frozenset(
    "cache_netmap= own_thread= own_thread=False port= world= fallback= verify= cert= http1= http2= limits= retries= "
    "key= node= old_keys= status= times= wants_approval=".split()
)
