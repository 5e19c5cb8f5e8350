"""Our own timelines, over both IP versions, without any adaptation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.run import find, version_of
from tests.scripts.runner import judge

HERE = Path(__file__).parent
CASES = [(path, version) for path in find(HERE) for version in (4, 6) if version_of(path, version) == version]


@pytest.mark.parametrize(
    ("path", "version"), CASES, ids=[f"{path.relative_to(HERE).with_suffix('')}-v{version}" for path, version in CASES]
)
def test_timeline(path: Path, version: int) -> None:
    verdict = judge(path.read_text(encoding="utf-8"), strict=True, version=version)
    assert (verdict.outcome, verdict.reason, verdict.adaptations) == ("passed", "", ())
