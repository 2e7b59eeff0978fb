"""The command line: `trio-jobs`, or `python -m trio_jobs`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
