"""The execution plan: how a trial is computed. It is chosen once and stored; every later attempt uses it again.

A plan changes no result except the last bits of sums. So speed can depend on the machine while results are repeatable.
"""

import dataclasses
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.data.batches import bucket_lengths
from rnnexp.model.cells import cell


@dataclass(frozen=True)
class ExecutionPlan:
    """How a trial is computed.

    Attributes:
        threads: of TensorFlow within one operation, and of the compiled layers.
        kernel: what runs the recurrent layers: `compiled` is ours, for a CPU; `stock` is Keras' own loop.
        bucket_lengths: the lengths T of batches, ascending.
        eval_batch_size: texts in a batch of evaluation.
        device: `CPU` hides GPUs that are slower; `auto` leaves the choice to TensorFlow.
    """

    threads: int
    kernel: str
    bucket_lengths: tuple[int, ...]
    eval_batch_size: int
    device: str = "auto"


def eval_batch_size(config: TrialConfig) -> int:
    """Returns the texts in a batch of evaluation. It keeps no states, so there is memory for more than in training."""
    return max(config.train.batch_size, 256)


def choose(config: TrialConfig, threads: int, device: str = "auto") -> ExecutionPlan:
    """Returns the plan for a trial with the given threads and device.

    The choice follows from measurements in tests/benchmarks: on a CPU a step of the compiled layers is 1.8 (LSTM(128))
    to 4.7 (SimpleRNN(32)) times as fast as one of Keras' loop. XLA over a whole step is slower than that.
    """
    model = config.model
    is_compiled = device != "GPU" and cell(model.cell).runs_compiled(model.recurrent_dropout)
    return ExecutionPlan(
        threads=threads,
        kernel="compiled" if is_compiled else "stock",
        bucket_lengths=bucket_lengths(config.data.maxlen),
        eval_batch_size=eval_batch_size(config),
        device=device,
    )


def stored_or_chosen(path: Path, config: TrialConfig, threads: int, device: str = "auto") -> ExecutionPlan:
    """Returns the plan that an earlier attempt stored; if there is none, chooses one and stores it.

    Keys of another version are ignored.
    """
    known = {field.name for field in dataclasses.fields(ExecutionPlan)}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values = {key: value for key, value in values.items() if key in known}
        return ExecutionPlan(**{**values, "bucket_lengths": tuple(values["bucket_lengths"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        plan = choose(config, threads, device)
        disk.write_text(path, json.dumps(asdict(plan), indent=1))
        return plan
