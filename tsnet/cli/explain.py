"""`tsnet explain TARGET`: what a dial would meet, one step a line, and a verdict; or --json. Exit code 0 for OK-….

The verdict comes last, and what to do next after it.

Not here: what the codes mean (`tsnet.engine.explanation`).
"""

from __future__ import annotations

import json
from argparse import Namespace

import attrs

from tsnet.base.printable import printable
from tsnet.base.wording import worded
from tsnet.cli import console
from tsnet.cli.joining import CLOSE_TIMEOUT, server
from tsnet.cli.signals import undisturbed
from tsnet.cli.words import WORDS
from tsnet.config import parse_target
from tsnet.engine.explanation import Explanation

MARKS: dict[bool | None, str] = {True: "ok", False: "NO", None: "-"}


def run(options: Namespace) -> int:
    parse_target(options.target)
    node = server(options, passing=True)
    try:
        found = node.explain(options.target, timeout=options.timeout)
    finally:
        with undisturbed():
            node.close(timeout=CLOSE_TIMEOUT)
    if options.json:
        print(json.dumps({"ok": found.ok, **attrs.asdict(found)}, indent=2))
    else:
        for line in lines(found):
            console.show(line)
    return 0 if found.ok else 1


def lines(found: Explanation) -> list[str]:
    """What a person reads."""
    width = max(len(printable(step.question)) for step in found.steps)
    shown = [
        f"{MARKS[step.ok]:3}{printable(step.question).ljust(width)}  {printable(worded(step.found, WORDS))}"
        + (f" ({step.seconds * 1000:.1f} ms)" if step.seconds else "")
        for step in found.steps
    ]
    return [*shown, worded(found.verdict, WORDS), f"next: {worded(found.advice, WORDS)}"]
