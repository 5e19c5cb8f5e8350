"""The whole state of a device as one comparable value: what a forged message must not change.

Left out: counters of drops (they count it), what a message costs its sender (`_admission` bounds it), the clock's last
reading, and what has no state (functions, AEAD keys).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from tsnet.base.keys import PrivateKey
from tsnet.wireguard.device import Device

LEFT_OUT = {
    "dropped",
    "_dropped",
    "_admission",
    "_now",
    "_entropy",
    "entropy",
    "_encrypt",
    "_decrypt",
    "_heap",
    "_serial",
}


def snapshot(device: Device) -> Any:
    return _value(device, frozenset())


def _value(thing: Any, above: frozenset[int]) -> Any:
    if thing is None or isinstance(thing, (bool, int, float, str, bytes)):
        return thing
    if id(thing) in above:
        return "…"
    above |= {id(thing)}
    if isinstance(thing, PrivateKey):
        return thing.reveal()
    if isinstance(thing, Counter):
        return "counter"
    if isinstance(thing, Mapping):
        return {key: _value(value, above) for key, value in thing.items()}
    if isinstance(thing, (list, tuple, deque)):
        return [_value(item, above) for item in thing]
    if callable(thing):
        return "function"
    return {name: _value(getattr(thing, name), above) for name in _names(thing) if name not in LEFT_OUT}


def _names(thing: Any) -> list[str]:
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ()) if name != "__weakref__"]
    return [*(name for name in names if hasattr(thing, name)), *getattr(thing, "__dict__", {})]
