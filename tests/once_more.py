"""After a failed run: what failed is run once more, alone. Used by `.ci/run` alone.

    python tests/once_more.py [ARGUMENTS OF PYTEST]

A test that passes now is named as unsteady. That is a defect to be mended, but a busy machine is no reason to stop a
change; a test that fails twice is. Exit 0: all passed now; 1: something failed again, or nothing was noted as failed.
Then the note of what failed is removed: the next part of a run is judged by its own failures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NOTED = Path(".pytest_cache/v/cache/lastfailed")


def main(arguments: list[str]) -> int:
    print("\n=== once more, alone: what failed above", flush=True)
    last_failed = ["--last-failed", "--last-failed-no-failures", "none"]
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "--tb=short", *last_failed, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    NOTED.unlink(missing_ok=True)
    lines = done.stdout.splitlines()
    print("\n".join(lines[-40:]), flush=True)
    for line in lines if done.returncode == 0 else ():
        if line.startswith("PASSED "):
            print(f"UNSTEADY {line.removeprefix('PASSED ')}: failed once, passed alone", flush=True)
    return int(done.returncode != 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
