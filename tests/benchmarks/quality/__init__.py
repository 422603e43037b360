"""Benchmark 2, time to quality: the wall clock until a study has what 40 trials of the plain loop's random search have.

Learning curves are recorded once (`record.py`), studies are replayed over them in virtual time (`replay.py`). Without
a recording in the state's folder, the one that was committed is replayed.
"""

from tests.benchmarks.quality.compare import run

__all__ = ["run"]
