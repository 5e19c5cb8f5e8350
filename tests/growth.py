"""What a running tailnet holds: the lengths of all containers that can be reached from it, and what of that has grown.

    sizes = measure(handle, tailnet)            {"Pump.owners": 3, "Peer ×": 9, …}: sums over all objects of a class
    growth([sizes, sizes, …])                   what is more in each of the last measures than in any of the first

A container belongs to the attribute that it is found by, one inside another to the outer one's ("Paths.known[]"). A
new class or attribute is measured without anybody thinking of it. Closures, bound methods and partial functions are
looked through; weak references are not, nor what belongs to other libraries.
"""

from __future__ import annotations

import functools
import gc
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

OURS = ("tsnet.", "netstack.")
CONTAINERS = (list, tuple, set, frozenset, deque, Mapping, bytearray)
LOOKED_THROUGH = (MethodType, functools.partial)

CAPPED = {
    "PacketFilter._flows": "the 512 that were used last, as in Go",
    "_Mapping.talked": "of a simulated router: the 256 that were sent to last",
}
"""What may grow all day towards a cap that its own tests are about."""

SLACK = 8
"""What chance alone may add to a sum over all nodes."""
SLACK_RATE = 0.25


def measure(*roots: object) -> dict[str, int]:
    """Lengths by "Class.attribute", instances by "Class ×"."""
    sizes: Counter[str] = Counter()
    seen: dict[int, object] = {}  # the objects themselves: an id is good for as long as its object lives
    queue: deque[tuple[str, object]] = deque(("root", root) for root in roots)
    while queue:
        name, found = queue.popleft()
        if id(found) in seen or not _is_looked_at(found):
            continue
        seen[id(found)] = found
        if isinstance(found, CONTAINERS):
            sizes[name] += len(found)
        elif not isinstance(found, (FunctionType, *LOOKED_THROUGH)):
            sizes[f"{type(found).__name__} ×"] += 1
        queue.extend(_inside(name, found))
    return dict(sizes)


def objects() -> dict[str, int]:
    """All there are of this library, reachable or not."""
    counts: Counter[str] = Counter()
    for each in gc.get_objects():
        cls = type(each)
        if str(cls.__module__).startswith(OURS):  # some classes have a descriptor there
            counts[f"{cls.__name__} in memory"] += 1
    return dict(counts)


def growth(measures: Sequence[Mapping[str, int]]) -> dict[str, list[int]]:
    """All sizes of whatever is larger in each of the last third than in all of the first third, by more than chance."""
    third = max(1, len(measures) // 3)
    grown = {}
    for name in sorted(set().union(*measures)):
        sizes = [each.get(name, 0) for each in measures]
        before, after = max(sizes[:third]), min(sizes[-third:])
        if after > before + max(SLACK, SLACK_RATE * before) and name.partition("[")[0] not in CAPPED:
            grown[name] = sizes
    return grown


def _is_looked_at(found: object) -> bool:
    if isinstance(found, type | Enum):
        return False
    if isinstance(found, (*CONTAINERS, *LOOKED_THROUGH)):
        return True
    module = found.__module__ if isinstance(found, FunctionType) else type(found).__module__
    return f"{module}.".startswith(OURS)


def _inside(name: str, found: object) -> Iterator[tuple[str, object]]:
    match found:
        case bytearray():
            pass
        case Mapping():
            for key, value in tuple(found.items()):
                yield f"{name}[]", key
                yield f"{name}[]", value
        case list() | tuple() | set() | frozenset() | deque():
            for each in tuple(found):
                yield f"{name}[]", each
        case FunctionType():
            for variable, cell in zip(found.__code__.co_freevars, found.__closure__ or (), strict=True):
                yield from _content(f"{found.__qualname__}.{variable}", cell)
        case MethodType():
            yield name, found.__self__
        case functools.partial():
            yield from ((name, each) for each in (found.func, *found.args, *found.keywords.values()))
        case _:
            for attribute, value in _attributes(found):
                yield f"{type(found).__name__}.{attribute}", value


def _content(name: str, cell: Any) -> Iterator[tuple[str, object]]:
    try:
        yield name, cell.cell_contents
    except ValueError:  # not assigned yet
        return


def _attributes(found: object) -> Iterable[tuple[str, object]]:
    """Those in its dictionary, and those in slots of its class and of all before it."""
    yield from tuple(getattr(found, "__dict__", {}).items())
    for cls in type(found).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            hidden = f"_{cls.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if hidden not in ("__dict__", "__weakref__") and hasattr(found, hidden):
                yield hidden, getattr(found, hidden)
