"""Records: small values that are told, passed on or read from a message.

    @record
    class Closed:
        link: Link
        reason: str

A record is a frozen attrs class, and a type checker takes `record` for `attrs.frozen`. attrs writes and compiles the
methods of each class anew, which takes 0.3 ms and more; a node that begins has nearly two hundred of them, and joining
makes values of less than half. Records are compared, hashed and shown seldom: one function of each serves them all.

| what                          | when attrs makes it                                                              |
|-------------------------------|----------------------------------------------------------------------------------|
| the class, with its slots     | never: `record` does                                                             |
| `__init__`, the list of fields| at the first value of the class, or when `attrs.fields` is asked for it          |

Not here: values that are compared or hashed often, such as the nodes of a netmap. attrs compiles all methods of these.
Methods of a record cannot say `super()` or `__class__`, which would be the class that `record` was given.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

__all__ = ["record"]

if TYPE_CHECKING:
    from attrs import frozen as record
else:
    C = TypeVar("C")

    def record(cls: type[C]) -> type[C]:
        """As `attrs.frozen`. What the class defines itself stays."""
        names = tuple(_written(cls))
        body = {name: each for name, each in vars(cls).items() if name not in (*names, "__dict__", "__weakref__")}
        weakly = () if any("__weakref__" in vars(base) for base in cls.__mro__[1:]) else ("__weakref__",)
        body["__slots__"] = (*names, *weakly)
        body["__match_args__"] = (*_inherited(cls), *names)
        body["__attrs_attrs__"] = _Fields(cls)
        return type(cls)(cls.__name__, cls.__bases__, {**_METHODS, **body})


class _Fields:
    """Stands for a record's `__attrs_attrs__` and `__init__` until one of them is wanted."""

    __slots__ = ("_said",)

    def __init__(self, said: type) -> None:
        """said: the class as it was written."""
        self._said = said

    def __get__(self, value: object, cls: type) -> Any:
        record = next(each for each in cls.__mro__ if "__attrs_attrs__" in vars(each))
        made = attrs.frozen(self._said, eq=False, repr=False)
        record.__init__ = made.__init__  # type: ignore[misc]
        record.__attrs_attrs__ = attrs.fields(made)  # type: ignore[attr-defined]  # last: other threads look here
        return attrs.fields(made)


class _Signature:
    """What `inspect.signature`, `help` and editors show of a record."""

    def __get__(self, value: object, cls: type) -> inspect.Signature:
        attrs.fields(cls)
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=tuple(signature.parameters.values())[1:])


def _written(cls: type) -> Iterator[str]:
    """The names of the fields that the class itself adds."""
    for name, kind in inspect.get_annotations(cls).items():
        if name not in _inherited(cls) and not str(kind).startswith(("ClassVar", "typing.ClassVar")):
            yield name


def _inherited(cls: type) -> tuple[str, ...]:
    """The names of the fields that a record has from its base."""
    return getattr(cls, "__match_args__", ())


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    """The first value of its class."""
    attrs.fields(type(self))
    self.__init__(*arguments, **named)


def _getstate(self: Any) -> dict[str, Any]:
    return {name: getattr(self, name) for name in self.__match_args__}


def _setstate(self: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        object.__setattr__(self, name, value)


def _refuse(self: Any, name: str, value: object = None) -> None:
    raise attrs.exceptions.FrozenInstanceError


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


_METHODS: dict[str, object] = {
    "__init__": _init,
    "__signature__": _Signature(),
    "__eq__": _equals,
    "__hash__": _hash,
    "__repr__": _shown,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
