"""`make test-all`: the suite under every other CPython from 3.11 on that really runs, pyenv's included.

An interpreter counts when `import ssl, venv` works in it. Each gets its own environment from the same lock. One of the
version that runs this has seen the pure parts already: there netstack and its scripts are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = (ROOT / "requirements.lock", ROOT / "pyproject.toml")
"""What an environment is made from; a newer one makes it anew."""

PURE = ("netstack", "scripts")

PROBE = (
    "import ssl, venv, sys, platform; "
    "assert platform.python_implementation() == 'CPython' and sys.version_info >= (3, 11); "
    "print(platform.python_version(), getattr(sys, '_is_gil_enabled', lambda: True)())"
)


def candidates() -> list[Path]:
    """Every executable that may be one: on PATH, and pyenv's own."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep)] + [Path("/usr/bin")]
    found = [
        path for place in places for path in sorted(place.glob("python3*")) if path.name[7:].replace(".", "").isdigit()
    ]
    return [*found, *sorted(pyenv.glob("*/bin/python3"))]


def interpreters() -> dict[str, Path]:
    """Version -> executable, without the one that runs this."""
    found: dict[str, Path] = {}
    for path in candidates():
        try:
            probe = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if probe.returncode == 0:
            found.setdefault(probe.stdout.split()[0], path)
    found.pop(sys.version.split()[0], None)
    return found


def environment(version: str, path: Path) -> Path:
    """The interpreter of a fresh environment from the lock. Our own pip fills it: Debian's Pythons have none."""
    folder = ROOT / f".venv-{version}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists() or ready.stat().st_mtime < max(each.stat().st_mtime for each in SOURCES):
        subprocess.run([path, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "-q"]
        subprocess.run([*pip, "--require-hashes", "-r", ROOT / "requirements.lock"], check=True)
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], check=True)
        ready.touch()
    return python


def passes(version: str, path: Path) -> bool:
    python = str(environment(version, path))
    side_by_side = ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]
    command = [python, "-m", "pytest", "-q", *side_by_side, "-m", "not slow and not interop", "tests"]
    if version.split(".")[:2] == [str(number) for number in sys.version_info[:2]]:
        command += [f"--ignore=tests/{part}" for part in PURE]
    again = [python, str(ROOT / "tests" / "once_more.py")]
    return any(subprocess.run(each, cwd=ROOT, check=False).returncode == 0 for each in (command, again))


def main() -> int:
    others = interpreters()
    print(f"other interpreters: {', '.join(sorted(others)) or 'none'}", flush=True)
    failed = []
    for version, path in sorted(others.items()):
        begun = time.monotonic()
        print(f"--- CPython {version} ({path})", flush=True)
        if not passes(version, path):
            failed.append(version)
        print(f"--- CPython {version}: {time.monotonic() - begun:.0f} s", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all passed", flush=True)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
