"""httpx over the tailnet: clients and transports. See `tsnet.adapters.httpx`."""

from tsnet.adapters.httpx import AsyncTransport as AsyncTransport
from tsnet.adapters.httpx import SyncTransport as SyncTransport
from tsnet.adapters.httpx import httpx_client as httpx_client
from tsnet.adapters.httpx import sync_httpx_client as sync_httpx_client
