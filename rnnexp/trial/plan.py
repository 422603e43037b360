"""The execution plan: how a trial is computed. It is chosen once and stored; every later attempt uses it again.

A plan changes no result except the last bits of sums. So speed can depend on the machine while results are repeatable:
bit for bit on the same type of machine, which the plan records.
"""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.data.padding import bucket_lengths
from rnnexp.model.cells import cell
from rnnexp.trial import machine_type
from rnnexp.trial.machine_type import MachineType


@dataclass(frozen=True)
class ExecutionPlan:
    """How a trial is computed.

    Attributes:
        threads: of TensorFlow within one operation, on which sums depend; 1 with `compiled`, whose layers have threads
            that may change.
        kernel: what runs the recurrent layers: `compiled` is ours, for a CPU; `stock` is Keras' own loop.
        bucket_lengths: the lengths T of batches, ascending.
        eval_batch_size: texts in a batch of evaluation.
        device: `CPU` hides GPUs that are slower; `auto` leaves the choice to TensorFlow.
        processor: the model of the processor of the first attempt; empty in plans of earlier versions, as what follows.
        numba: the version of Numba.
        blas: the kernel of the BLAS library.
        tensorflow: the version of TensorFlow.
        keras: the version of Keras.
    """

    threads: int
    kernel: str
    bucket_lengths: tuple[int, ...]
    eval_batch_size: int
    device: str = "auto"
    processor: str = ""
    numba: str = ""
    blas: str = ""
    tensorflow: str = ""
    keras: str = ""

    @property
    def machine(self) -> MachineType:
        """The type of machine on which the trial began."""
        return MachineType.of(asdict(self))


def eval_batch_size(config: TrialConfig) -> int:
    """Returns the texts in a batch of evaluation. It keeps no states, so there is memory for more than in training."""
    return max(config.train.batch_size, 256)


def choose(config: TrialConfig, threads: int, device: str = "auto") -> ExecutionPlan:
    """Returns the plan for a trial; with Keras' own layers it has the given threads.

    The choice follows from measurements in tests/benchmarks: on a CPU a step of the compiled layers is 1.8 (LSTM(128))
    to 4.7 (SimpleRNN(32)) times as fast as one of Keras' loop. XLA over a whole step is slower than that. The compiled
    layers compute in float32 only.
    """
    machine = machine_type.current()
    can_compile = cell(config.model.cell).loops is not None and config.train.precision == "float32"
    is_compiled = device != "GPU" and can_compile
    return ExecutionPlan(
        threads=1 if is_compiled else threads,
        kernel="compiled" if is_compiled else "stock",
        bucket_lengths=bucket_lengths(config.data.maxlen),
        eval_batch_size=eval_batch_size(config),
        device=device,
        **asdict(machine),
    )


def stored_or_chosen(path: Path, config: TrialConfig, threads: int, device: str = "auto") -> ExecutionPlan:
    """Returns the plan that an earlier attempt stored; if there is none, chooses one and stores it.

    Keys of another version are ignored.
    """
    plan = _load(path)
    if plan is None:
        plan = choose(config, threads, device)
        disk.write_text(path, json.dumps(asdict(plan), indent=1))
    return plan


def _load(path: Path) -> ExecutionPlan | None:
    """Loads a stored plan; None if it is missing or damaged."""
    known = {field.name for field in dataclasses.fields(ExecutionPlan)}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values = {key: value for key, value in values.items() if key in known}
        return ExecutionPlan(**{**values, "bucket_lengths": tuple(values["bucket_lengths"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def other_machine(paths: Iterable[Path]) -> str | None:
    """Returns a sentence if trials began on another type of machine than this one, else None.

    Args:
        paths: where the plans of the trials are stored; a missing file is ignored.
    """
    plans = [plan for path in paths if (plan := _load(path)) is not None]
    differences = [found for plan in plans if (found := plan.machine.differences(machine_type.current()))]
    if not differences:
        return None
    return (
        f"earlier trials ran on another type of machine ({'; '.join(differences[0])}): the same settings may give "
        "slightly other results here"
    )
