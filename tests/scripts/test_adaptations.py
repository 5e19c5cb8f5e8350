"""The rules, and that the document lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.adaptations import RULES, Adaptations

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scripts.md"


def test_what_was_used_is_remembered_once() -> None:
    rules = Adaptations()
    assert rules.use("push")
    assert rules.use("push")
    assert list(rules.used) == ["push"]


def test_strict_allows_none() -> None:
    rules = Adaptations(())
    assert not any(rules.use(rule) for rule in RULES)
    assert not rules.used


def test_a_rule_has_to_be_in_the_table() -> None:
    with pytest.raises(AssertionError):
        Adaptations().use("whatever")


@pytest.mark.parametrize("rule", RULES)
def test_the_document_lists_it(rule: str) -> None:
    assert f"| `{rule}` |" in DOCUMENT.read_text(encoding="utf-8")
