from __future__ import annotations

import pytest

from tsnet.base.targets import origin_form


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/key?v=1", "/key?v=1"),
        ("/to?http://other/", "/to?http://other/"),
        ("*", "*"),
        ("control:443", "control:443"),
        ("", ""),
        ("http://127.0.0.1:8080/key?v=1", "/key?v=1"),
        ("HTTPS://[fd00::1]:443/derp", "/derp"),
        ("http://control", "/"),
        ("http://control?v=1", "/?v=1"),
        ("http://", "/"),
        ("ftp://control/key", "ftp://control/key"),
    ],
)
def test_origin_form(target: str, path: str) -> None:
    assert origin_form(target) == path
