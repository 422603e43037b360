"""`python -m rnnexp`: the same as the `rnnexp` command."""

import sys

from rnnexp.cli import main

if __name__ == "__main__":
    sys.exit(main())
