"""A program that answers JSON lines: what `tests.interop.harness.lines.Lines` speaks to, one request at a time."""

from __future__ import annotations

import json
import sys


def answer_lines(program: object) -> None:
    """Call the methods of `program` by name, until "quit" or the end of stdin. An exception is told as an error."""
    for line in sys.stdin:
        request = json.loads(line)
        number, operation = request.pop("id"), request.pop("op")
        request.pop("timeout", None)
        try:
            answer = {"id": number, "result": getattr(program, operation)(**request)}
        except Exception as error:  # told, as Go's peer tells it
            answer = {"id": number, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
        if operation == "quit":
            return
