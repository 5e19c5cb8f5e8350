"""Records: small values that machines tell each other, as facts, effects, events and messages.

    @record
    class Closed:
        link: Link
        reason: str

A record is a frozen attrs class. attrs writes and compiles the methods of each class anew, which takes 0.3 ms, and a
node that begins has a hundred of these classes. Records are compared, hashed and shown in tests and logs alone: one
function of each kind serves all of them, and only `__init__` is compiled. That takes 0.1 ms.

Not here: values that are compared or hashed while a node works, such as those of a netmap. attrs compiles all of them.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

import attrs

C = TypeVar("C")


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def record(cls: type[C]) -> type[C]:
    """As `attrs.frozen`. `attrs.field(repr=False)` keeps a secret out of sight here, too."""
    methods: Any = cls
    methods.__eq__, methods.__hash__, methods.__repr__ = _equals, _hash, _shown
    return attrs.frozen(cls, eq=False, repr=False)


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, field.name) for field in attrs.fields(type(self)))


def _equals(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash((type(self), _values(self)))


def _shown(self: Any) -> str:
    fields = attrs.fields(type(self))
    inner = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields if field.repr)
    return f"{type(self).__name__}({inner})"
