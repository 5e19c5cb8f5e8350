"""`python -m tsnet` is the `tsnet` command."""

from __future__ import annotations

import sys

try:
    from tsnet.cli import main
except KeyboardInterrupt:  # Ctrl-C so early is no reason for a traceback
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
