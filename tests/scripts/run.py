"""`python -m tests.scripts.run FOLDER`: every script in a folder, judged; the last line counts them.

    passed   NAME  [adaptations that it needed]
    failed   NAME  line N: what was wrong
    skipped  NAME  the feature that is not netstack's

    --strict   no adaptations (tests/scripts/adaptations.py)
    --ipv6     over IPv6 instead of IPv4; scripts that name a version keep it
    -v         commands that were not translated, too

The status is 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tests.scripts.runner import Verdict, judge

SUFFIXES = (".pkt", ".tcp")


def find(folder: Path) -> list[Path]:
    """A script, or all scripts below a folder in the order of their names."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)


def version_of(path: Path, default: int) -> int:
    """A name may end in the version that the script is for."""
    return {"v4": 4, "v6": 6}.get(path.stem.rsplit("-", 1)[-1], default)


def line_of(name: str, verdict: Verdict, *, verbose: bool) -> str:
    line = f"{verdict.outcome:8} {name}"
    if verdict.reason:
        line += f"  {verdict.reason}"
    if verdict.adaptations:
        line += f"  [{', '.join(verdict.adaptations)}]"
    if verbose or verdict.outcome == "failed":
        line += "".join(f"\n         {note}" for note in verdict.notes)
    return line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scripts.run", description="Run TCP timelines.")
    parser.add_argument("folder", type=Path, help="a script, or a folder of them")
    parser.add_argument("--strict", action="store_true", help="no adaptations")
    parser.add_argument("--ipv6", action="store_true", help="over IPv6")
    parser.add_argument("-v", "--verbose", action="store_true", help="what was not translated, too")
    chosen = parser.parse_args(arguments)
    if not chosen.folder.exists():
        parser.error(f"no such folder: {chosen.folder}")
    counts: Counter[str] = Counter()
    for path in find(chosen.folder):
        version = version_of(path, 6 if chosen.ipv6 else 4)
        verdict = judge(path.read_text(encoding="utf-8"), strict=chosen.strict, version=version)
        counts[verdict.outcome] += 1
        name = path.name if path == chosen.folder else str(path.relative_to(chosen.folder))
        print(line_of(name, verdict, verbose=chosen.verbose))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
