"""`python -m tsnet` is the `tsnet` command."""

from __future__ import annotations

import sys

from tsnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
