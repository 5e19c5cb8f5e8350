"""The project's own files: a lock that names no index, a wheel that builds offline, and no trace of any machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hatchling import build
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_architecture import SOURCES

ROOT = Path(__file__).parent.parent
OLDEST = "3.11"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
TARGETS = ["demo", "test", "test-all", "check", "interop", "bench", "nightly", "smoke-real"]

IMPORTED_AS = {"nacl": "pynacl", "backports": "backports-zstd", "_pytest": "pytest"}
PROVIDED = {
    "httpcore": "httpx",  # whose transport is made of it
    "pytest": "",  # the plugin runs inside the user's
    "numpy": "",  # used where the application has imported it
    "sniffio": "anyio",
    "compression": "",  # the standard library's, from 3.14 on
    "typing_extensions": "",  # under TYPE_CHECKING alone: type checkers bring its stubs
    "werkzeug": "",
    "flask": "",
}


# --- the lock ---------------------------------------------------------------------------------------------------


@cache
def locked() -> dict[str, list[str]]:
    """Canonical name -> the entry's lines."""
    entries: dict[str, list[str]] = {}
    for line in LOCK.splitlines():
        if match := re.match(r"([A-Za-z0-9][\w.-]*)==", line):
            entries[canonicalize_name(match[1])] = [line]
        elif line.strip() and not line.lstrip().startswith("#"):
            entries[next(reversed(entries))].append(line)
    return entries


def version_of(name: str) -> str:
    return re.split(r"[ ;\\]", locked()[name][0].partition("==")[2].strip())[0]


def wanted() -> list[Requirement]:
    """All that pyproject asks for, extras and groups included."""
    project = PROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return [Requirement(text) for each in lists for text in each]


def for_oldest(requirement: Requirement, extra: str = "") -> bool:
    environment = {"python_version": OLDEST, "python_full_version": f"{OLDEST}.0", "extra": extra}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_every_entry_is_pinned_and_hashed() -> None:
    assert len(locked()) > 20
    for name, lines in locked().items():
        hashes = [line for line in lines if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line)]
        assert hashes == lines[1:], name
        assert hashes, name


def test_the_lock_names_no_index() -> None:
    for word in ("index", "find-links", "://", "trusted-host", " @ "):
        assert word not in LOCK
    assert not re.search(r"^-", LOCK, re.MULTILINE)


def test_the_lock_covers_the_project_for_the_oldest_python() -> None:
    assert PROJECT["project"]["requires-python"] == f">={OLDEST}"
    for requirement in filter(for_oldest, wanted()):
        name = canonicalize_name(requirement.name)
        assert name in locked(), requirement
        assert requirement.specifier.contains(version_of(name), prereleases=True), requirement


@pytest.mark.parametrize("name", sorted(locked()))
def test_the_lock_covers_what_its_entries_need(name: str) -> None:
    try:
        needs = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return  # for another platform or Python: its markers say so
    for requirement in map(Requirement, needs):
        if for_oldest(requirement):
            assert canonicalize_name(requirement.name) in locked(), requirement


# --- the wheel --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip does without build isolation: nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / build.build_wheel(str(folder))


def test_the_wheel_is_pure_and_small(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 5 << 18  # 1.25 MiB: it is source text alone


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    code = {name for name in names if ".dist-info/" not in name}
    assert code == {str(path.relative_to(ROOT)) for path in SOURCES} | {"netstack/py.typed", "tsnet/py.typed"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_has_its_entry_points(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
    text = archive.read(name).decode()
    assert "[console_scripts]\ntsnet = tsnet.cli:main" in text
    assert "[pytest11]\ntsnet = tsnet.testing.plugin" in text


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    import tsnet

    assert PROJECT["project"]["dynamic"] == ["version"]
    assert wheel.name.split("-")[1] == tsnet.__version__


def test_two_builds_are_equal(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert (tmp_path / build.build_wheel(str(tmp_path))).read_bytes() == wheel.read_bytes()


# --- what it imports --------------------------------------------------------------------------------------------


def third_parties(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"tsnet", "netstack"}


def test_every_import_is_a_declared_dependency() -> None:
    project = PROJECT["project"]
    declared = {
        canonicalize_name(Requirement(text).name)
        for texts in (project["dependencies"], *project["optional-dependencies"].values())
        for text in texts
    }
    for path in SOURCES:
        for name in third_parties(path):
            provider = PROVIDED.get(name, IMPORTED_AS.get(name, name))
            assert not provider or provider in declared, f"{path.relative_to(ROOT)} imports {name}"


def test_no_dependency_of_users_is_under_the_gpl() -> None:
    pending = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    pending += [Requirement(text) for texts in PROJECT["project"]["optional-dependencies"].values() for text in texts]
    seen: set[str] = set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or not for_oldest(requirement):
            continue
        seen.add(name)
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        fields = ("License-Expression", "License", "Classifier")
        words = " ".join(text[:100] for field in fields for text in about.get_all(field) or [])
        assert not re.search(r"\bA?GPL|GNU (Affero )?General", words), f"{name}: {words}"
        pending += [Requirement(text) for text in metadata.requires(name) or []]
    assert {"anyio", "cryptography"} <= seen
    assert "scapy" not in seen


# --- the tree ---------------------------------------------------------------------------------------------------


@cache
def tracked() -> tuple[Path, ...]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if not (ROOT / ".git").exists():  # an unpacked archive
        return ()
    assert listing.returncode == 0, listing.stderr
    return tuple(ROOT / name for name in listing.stdout.split("\0") if name)


def test_no_file_knows_a_machine() -> None:
    """No folder of somebody's computer, and no host from which packages came."""
    machine = re.compile(r"(?<![\w.])/(?:work|root|opt)/\w|(?:pypi|pythonhosted|golang)\.org/simple|/wheel[s]\b")
    for path in tracked():
        if path.suffix != ".sum" and path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            for match in machine.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                pytest.fail(f"{path.relative_to(ROOT)}:{line} says {match[0]}")


def test_nothing_that_is_built_is_tracked() -> None:
    for path in tracked():
        name = str(path.relative_to(ROOT))
        assert not re.search(r"(^|/)(__pycache__|\.venv|dist|build|bin)/|\.pyc$|\.egg-info", name), name


def test_tests_are_packages() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert (path.parent / "__init__.py").exists(), path


def test_the_makefile_keeps_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in TARGETS:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"\$\(RUN\) (tests/\S+)", makefile):
        assert (ROOT / script).exists(), script
    for module in re.findall(r"\$\(RUN\) -m ((?:tests|benchmarks)[\w.]*)", makefile):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_the_changelog_has_one_list_to_come() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings.count("Unreleased") == 1
