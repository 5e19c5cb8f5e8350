"""The relay at home, remembered: a start dials it beside control, and control hears of it with the first word.

    reachable ─► the region is saved, if it is another than the saved one
    a start ─► home is that region, if control knows the node ─► its relay and control are dialled at once
    a netmap ─► the region is as it says, or the home is chosen anew

| key          | value                                                                                                |
|--------------|------------------------------------------------------------------------------------------------------|
| `home-relay` | {"version": 1, "kind": "tsnet-py", "control_url": "https://…", "home": 1, "derp_map": that region    |
|              | alone, as control sends it}                                                                          |

Control has told this region to every peer as ours, so that telling it again says nothing new. A value that is damaged,
or of another control server, is as good as none.

Source: ours; Go measures first.
Not here: whether it is still the best (`netcheck.home`), dialling (`derprelays`), the store (`remembered`).
"""

from __future__ import annotations

from tsnet.base import jsonobject
from tsnet.base.malformed import MalformedError
from tsnet.control.tailcfg import decode_derp_map, encode_derp_map
from tsnet.netmap.merge import DerpMapUpdate
from tsnet.netmap.model import DerpRegion

VERSION = 1
KIND = "tsnet-py"


class HomeRelay:
    """region: what the store has, or soon will have; None for nothing."""

    def __init__(self, kept: bytes, control_url: str) -> None:
        self._control_url = control_url
        self.region: DerpRegion | None = decode_home(kept, control_url)

    def settled(self, region: DerpRegion) -> bytes | None:
        """Peers reach us there now. Returns what the store is to have, if it has anything else."""
        if region == self.region:
            return None
        self.region = region
        return encode_home(region, self._control_url)


def encode_home(region: DerpRegion, control_url: str) -> bytes:
    alone = encode_derp_map(DerpMapUpdate(regions={region.region_id: region}))
    fields = {"version": VERSION, "kind": KIND, "control_url": control_url, "home": region.region_id, "derp_map": alone}
    return jsonobject.encode(fields) + b"\n"


def decode_home(value: bytes, control_url: str) -> DerpRegion | None:
    try:
        fields = jsonobject.parse_kept(value, KIND, VERSION, writer="this library")
        alone = decode_derp_map(fields.get("derp_map"))
    except MalformedError:
        return None
    if fields.get("control_url") != control_url or alone is None or not alone.regions:
        return None
    home = fields.get("home")
    return alone.regions.get(home) if type(home) is int else None
