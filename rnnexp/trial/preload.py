"""What the forkserver imports, so that a trial's process has it at birth; nothing here starts TensorFlow's runtime."""

import os

from rnnexp import quiet
from rnnexp.trial import blas

for _name, _value in {"MPLBACKEND": "agg", **blas.environment()}.items():
    os.environ.setdefault(_name, _value)

with quiet.standard_error():
    import rnnexp.data.store
    import rnnexp.trial.fit
    import rnnexp.trial.record
    import rnnexp.trial.run  # noqa: F401
