"""Imports for the forkserver, so that a trial's process starts with them. Nothing here starts TensorFlow's runtime."""

import os

from rnnexp import quiet

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

with quiet.standard_error():
    import rnnexp.data.store
    import rnnexp.trial.fit
    import rnnexp.trial.history
    import rnnexp.trial.process  # noqa: F401
    from rnnexp.model.kernel.recurrence import warm_up_all
    from rnnexp.trial import machine_type

    warm_up_all()
    machine_type.current()  # after the kernels, which load their BLAS library; the trials' processes inherit the result
