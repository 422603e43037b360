"""`python -m tests.drill.program`: the program, with a report every few seconds instead of every minute.

The drill's studies take less than a minute, so that without it they would never publish a report or log a model while
they run.
"""

import sys

from rnnexp import cli

_EVERY_S = 4.0

if __name__ == "__main__":  # a trial's process imports this file, too
    from rnnexp.commands import report_thread

    report_thread._EVERY_S = _EVERY_S
    sys.exit(cli.main())
