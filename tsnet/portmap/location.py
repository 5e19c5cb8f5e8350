"""Which URLs of UPnP may be asked: those of the router's own address, by plain http. No other is ever asked.

A router that could name any URL would make this node ask others for it: services of the machine itself, or of its
neighbours, that trust whoever is inside the network. Neither SSDP nor a description can do that, nor a redirect.

Source: Tailscale's security bulletin TS-2023-006.
Not here: who asks (`upnp`).
"""

from __future__ import annotations

from tsnet.base.malformed import MalformedError
from tsnet.http1.url import Url


def of_router(text: str, gateway: str) -> Url:
    """The URL, if it leads to this address by plain http. Raises MalformedError, which says why not."""
    url = Url.parse(text)
    if url.host != gateway:
        raise MalformedError("a URL that leads elsewhere than to the router")
    if url.secure:
        raise MalformedError("an https URL")
    return url
