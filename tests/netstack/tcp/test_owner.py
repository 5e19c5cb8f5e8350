"""The layer has the face that connections ask for."""

from __future__ import annotations

import inspect

from netstack.tcp.layer import TcpLayer
from netstack.tcp.owner import Owner


def test_the_layer_is_an_owner() -> None:
    asked = {name: value for name, value in vars(Owner).items() if inspect.isfunction(value) and name[0] != "_"}
    assert asked
    for name, method in asked.items():
        assert list(inspect.signature(method).parameters) == list(
            inspect.signature(getattr(TcpLayer, name)).parameters
        ), name
