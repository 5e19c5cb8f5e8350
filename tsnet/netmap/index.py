"""An index of nodes: which of them have a key, be it a name, an address or a node key. It holds ids and no nodes.

    keys_of(node)   the keys that a node has
    ids(key)        the nodes that have it, lowest id first: the first is the owner, for who looks for one

A change of nodes that leaves their keys alone leaves the index alone. Two nodes may have one key: that is control's
fault, but when one of them goes the other still has it. The lowest id is the owner whatever came first, so an index
that has seen many changes equals one made anew.

Not here: what is indexed by which keys (`names`, `whois`, `tsnet.engine.peers`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import ClassVar, Generic, TypeVar

from tsnet.netmap.changes import NodeChange
from tsnet.netmap.model import Node
from tsnet.netmap.persistent import PersistentMap

K = TypeVar("K")

_NOBODY: tuple[int, ...] = ()
_Ids = int | tuple[int, ...]
"""The only id of a key, as nearly all of them are, or several. The garbage collector need not look at a dictionary of
text, bytes and numbers."""


class Index(Generic[K]):
    """Immutable. keys_of: without repetitions, in the same order for the same node."""

    __slots__ = ("_ids", "_keys_of")

    def __init__(self, keys_of: Callable[[Node], Collection[K]], ids: PersistentMap[K, _Ids] | None = None) -> None:
        self._keys_of = keys_of
        self._ids: PersistentMap[K, _Ids] = PersistentMap() if ids is None else ids

    def after(self, changes: Mapping[int, NodeChange]) -> Index[K]:
        """The index of the nodes as they are now, by id; itself if no key has changed."""
        keys_of = self._keys_of
        return self.moved(
            (number, () if before is None else keys_of(before), () if after is None else keys_of(after))
            for number, (before, after) in changes.items()
        )

    def moved(self, changes: Iterable[tuple[int, Collection[K], Collection[K]]]) -> Index[K]:
        """`after` with the keys at hand: of each id those that it had, and those that it has."""
        known = self.ids
        moved: dict[K, tuple[int, ...]] = {}
        for number, had, has in changes:
            if had == has:
                continue
            for key in had:
                if key not in has:
                    ids = moved[key] if key in moved else known(key)
                    moved[key] = tuple(other for other in ids if other != number)
            for key in has:
                if key not in had:
                    ids = moved[key] if key in moved else known(key)
                    moved[key] = tuple(sorted((*ids, number))) if ids else (number,)
        if not moved:
            return self
        gone = [key for key, ids in moved.items() if not ids]
        kept: dict[K, _Ids] = {key: ids if len(ids) > 1 else ids[0] for key, ids in moved.items() if ids}
        return Index(self._keys_of, self._ids.changed(kept, gone))

    def ids(self, key: K) -> tuple[int, ...]:
        found = self._ids.get(key, _NOBODY)
        return (found,) if isinstance(found, int) else found

    def __eq__(self, other: object) -> bool:
        return self._ids == other._ids if isinstance(other, Index) else NotImplemented

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it is compared in tests, and never a key

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<Index of {len(self)} keys>"
