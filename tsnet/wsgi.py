"""Serving WSGI apps on the tailnet. See `tsnet.adapters.wsgi`."""

from tsnet.adapters.identity import current_peer as current_peer
from tsnet.adapters.web_limits import WebLimits as WebLimits
from tsnet.adapters.wsgi import IdentityMiddleware as IdentityMiddleware
from tsnet.adapters.wsgi import WsgiServer as WsgiServer
