"""Where a client asks Tailscale's API, or an embedded tailnet, for an auth key.

| POST                 | gives                                             |
|----------------------|---------------------------------------------------|
| BY_SECRET            | an access token for an OAuth client's secret      |
| BY_ID_TOKEN          | an access token for an ID token                   |
| AUTH_KEYS            | an auth key for an access token                   |

Source: Go internal/client/tailscale, client/tailscale/keys.go.
Not here: what is asked (`client.keyexchange`) and answered (`server.api`).
"""

from __future__ import annotations

API_PATH = "/api/v2/"
BY_SECRET = f"{API_PATH}oauth/token"
BY_ID_TOKEN = f"{API_PATH}oauth/token-exchange"
AUTH_KEYS = f"{API_PATH}tailnet/-/keys"
