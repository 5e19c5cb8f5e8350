"""Records: small values that are told, passed on or read from a message.

    @record
    class Closed:
        link: Link
        reason: str

A record is a frozen attrs class, and a type checker takes `record` for `attrs.frozen`. attrs writes and compiles the
methods of each class anew, which takes 0.3 ms and more; a node that begins has a hundred and fifty of them. Records
are compared, hashed and shown seldom: one function of each kind serves all of them, and only `__init__` is compiled.

Not here: values that are compared or hashed often, such as the nodes of a netmap. attrs compiles all methods of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

__all__ = ["record"]

if TYPE_CHECKING:
    from attrs import frozen as record
else:
    C = TypeVar("C")

    def record(cls: type[C]) -> type[C]:
        """As `attrs.frozen`. What the class defines itself stays."""
        for name, method in _METHODS.items():
            if name not in vars(cls):
                setattr(cls, name, method)
        return attrs.frozen(cls, eq=False, repr=False)


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, field.name) for field in attrs.fields(type(self)) if field.eq)


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


_METHODS = {"__eq__": _equals, "__hash__": _hash, "__repr__": _shown}
