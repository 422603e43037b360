"""Time to quality: the wall clock until a study is as good as the plain loop's random search of 40 trials.

Learning curves are recorded once (`record.py`). Studies are replayed over them in virtual time (`replay.py`). If the
state folder has no recording, the committed one is replayed.
"""

from tests.benchmarks.quality.compare import run

__all__ = ["run"]
