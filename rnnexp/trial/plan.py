"""The execution plan: how a trial is computed. Chosen once, stored with it, used again by every later attempt.

Nothing of it changes what is computed, but for the last bits of a sum; so speed may be adaptive and results repeat.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.data.batches import bucket_lengths


@dataclass(frozen=True)
class ExecutionPlan:
    """How a trial is computed.

    Attributes:
        threads: of TensorFlow within one operation, and of the kernel.
        jit: whether XLA compiles the training step.
        kernel: what runs the recurrent layers: `compiled` is ours, for a CPU; `stock` is Keras' own loop.
        bucket_lengths: the lengths T that batches have, ascending.
        eval_batch_size: reviews a batch where nothing is learned.
        device: `CPU` hides GPUs that are slower; `auto` leaves the choice to TensorFlow.
    """

    threads: int
    jit: bool
    kernel: str
    bucket_lengths: tuple[int, ...]
    eval_batch_size: int
    device: str = "auto"


def eval_batch_size(config: TrialConfig) -> int:
    """Returns the reviews a batch where nothing is learned: no states are kept, so there is memory for more."""
    return max(config.train.batch_size, 256)


def choose(config: TrialConfig, threads: int, device: str = "auto") -> ExecutionPlan:
    """Returns the plan for a trial that has the given threads and device.

    What it rests on is measured in tests/benchmarks: on a CPU a step by our kernel is 1.8 (LSTM(128)) to 4.7
    (SimpleRNN(32)) times as fast as by Keras' loop; XLA over a whole step takes longer than that.
    """
    from rnnexp.model.kernel import CELLS  # compiled code, which only a trial's process should load

    model = config.model
    is_compiled = device != "GPU" and model.cell in CELLS and not model.recurrent_dropout
    return ExecutionPlan(
        threads=threads,
        jit=False,
        kernel="compiled" if is_compiled else "stock",
        bucket_lengths=bucket_lengths(config.data.maxlen),
        eval_batch_size=eval_batch_size(config),
        device=device,
    )


def stored_or_chosen(path: Path, config: TrialConfig, threads: int, device: str = "auto") -> ExecutionPlan:
    """Returns the plan that an earlier attempt stored; else chooses one and stores it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return ExecutionPlan(**{**values, "bucket_lengths": tuple(values["bucket_lengths"])})
    except (OSError, ValueError, TypeError, KeyError):
        plan = choose(config, threads, device)
        disk.write_text(path, json.dumps(asdict(plan), indent=1))
        return plan
