"""What a launcher of a node needs to know of a control server, whoever plays it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs


class Control(Protocol):
    """Headscale, TestControl, or our own embedded tailnet as a `ControlAt`."""

    @property
    def url(self) -> str: ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What a Go client must have in its environment to reach control and its DERP."""
        ...


@attrs.frozen
class ControlAt:
    """A control server that somebody else runs."""

    url: str
    environment: Mapping[str, str] = attrs.field(factory=dict)
