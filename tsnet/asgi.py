"""Serving ASGI apps on the tailnet. See `tsnet.adapters.asgi`."""

from tsnet.adapters.asgi import AsgiServer as AsgiServer
from tsnet.adapters.asgi import IdentityMiddleware as IdentityMiddleware
from tsnet.adapters.identity import current_peer as current_peer
from tsnet.adapters.web_limits import WebLimits as WebLimits
