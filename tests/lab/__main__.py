"""`python -m tests.lab [pytest's arguments]`: the lab's tests by somebody who is not root."""

from __future__ import annotations

import os
import sys
import tempfile

from tests.lab.rootless import FOLDER, pytest_command

os.environ[FOLDER] = tempfile.mkdtemp(prefix="rootless-")
command = pytest_command(*(sys.argv[1:] or ["tests/lab"]))
os.execvp(command[0], command)
