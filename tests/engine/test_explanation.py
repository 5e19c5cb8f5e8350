from __future__ import annotations

import re

import attrs
import pytest

from tests.documents import ROOT
from tsnet.engine import explanation
from tsnet.engine.explanation import ADVICE, REASONS, Explanation

PAGE = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")


def test_ok_is_what_the_code_says() -> None:
    for code in ADVICE:
        assert Explanation("db:80", code, "", "").ok is code.startswith("OK-")


def test_every_code_and_every_reason_has_its_line_in_the_documents() -> None:
    assert set(re.findall(r"^\| `((?:OK|E)-[A-Z-]+)` \|", PAGE, re.MULTILINE)) == ADVICE.keys()
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE, re.MULTILINE)) == REASONS.keys()


def test_every_code_is_in_the_module_s_table() -> None:
    assert set(re.findall(r"^\| ((?:OK|E)-[A-Z-]+) ", str(explanation.__doc__), re.MULTILINE)) == ADVICE.keys()


def test_it_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Explanation("db", "OK-SELF", "", "").code = "E-NAME"  # type: ignore[misc]
