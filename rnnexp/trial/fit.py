"""One trial, from its settings to its best model: data, network, epochs, and after each what it says.

Reads top to bottom. Knows nothing of processes: whoever calls it is told each event, and answers whether to go on.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.data.batches import Batch, Batches
from rnnexp.data.splits import Split
from rnnexp.data.store import TokenStore
from rnnexp.data.task import Task
from rnnexp.home import TrialFolder
from rnnexp.model import compiled
from rnnexp.model.build import build, logits_of
from rnnexp.model.clipping import optimizer as build_optimizer
from rnnexp.trial import checkpoint, events
from rnnexp.trial.events import EndReason, EpochEnded, Event, Failed, Finished, Started
from rnnexp.trial.plan import ExecutionPlan
from rnnexp.trial.progress import Progress

_LOSSES = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
}

GoOn = Callable[[Event], bool]
"""Is told an event; answers False where the trial is to end now."""

Heartbeat = Callable[[], None]
"""Is called after every batch: a sign of life."""


def fit(
    config: TrialConfig,
    store: TokenStore,
    folder: TrialFolder,
    plan: ExecutionPlan,
    attempt: int,
    tell: GoOn,
    beat: Heartbeat,
) -> None:
    """Trains one trial, going on from the folder's checkpoint where there is one.

    Args:
        config: all settings.
        store: the data that they name.
        folder: gets the checkpoint, the best model and its probabilities on the validation part.
        plan: how to compute.
        attempt: from 1.
        tell: is given every event in order; its answer to `EpochEnded` decides whether to go on.
        beat: is called after every batch, of training and of measuring.
    """
    keras.utils.set_random_seed(config.train.seed)
    split, task = store.split(config.data), store.task
    model = build(config, task.n_outputs, task.activation)
    optimizer = build_optimizer(config.train, config.clip)
    optimizer.build(model.trainable_variables)
    network = Network(model, optimizer, config, task, plan)
    train, validation = parts(config, store, split, plan)

    progress = Progress(config.train)
    restored = _restored(folder, model, optimizer)
    if restored is not None:
        progress.curve, progress.seconds = restored
    n_params = int(sum(np.prod(variable.shape) for variable in model.trainable_variables))
    happened = events.read(folder.events)
    said = events.epochs(happened)
    tell(
        Started(time.time(), attempt, progress.epoch, os.getpid(), n_params, _about(store, split, config), asdict(plan))
    )
    settled = [event for event in happened if isinstance(event, Finished)]
    if settled:
        # Ended, and then cut off before the supervisor had settled it: it has not changed its mind.
        tell(settled[-1])
        return
    ended: EndReason = "epochs"
    if progress.epoch:
        # Said again, for the supervisor may have missed it or its answer may have been lost.
        ended = "epochs" if tell(_epoch_ended(progress, 0.0, said)) else "pruned"
    while ended != "pruned" and progress.epoch < config.train.epochs and not progress.out_of_patience:
        began = time.monotonic()
        metrics = network.train(train.shuffled(config.train.seed, progress.epoch), beat)
        validated, probabilities = network.measure(validation, beat)
        metrics |= {f"val_{name}": value for name, value in validated.items()}
        progress.curve.append(metrics | optimizer.read_clipping())
        if progress.diverged:
            tell(Failed(time.time(), "diverged", f"epoch {progress.epoch}: {progress.diverged}"))
            return
        if progress.best_epoch == progress.epoch:
            _keep_best(model, folder, split.validation, probabilities)
        seconds = time.monotonic() - began
        progress.seconds += seconds
        checkpoint.save(folder.state, model, optimizer, progress.curve, progress.seconds)
        if not tell(_epoch_ended(progress, seconds, said)):
            ended = "pruned"
            break
    if ended != "pruned" and progress.out_of_patience and progress.epoch < config.train.epochs:
        ended = "patience"
    tell(Finished(time.time(), ended, progress.best_epoch, progress.best_metrics, n_params, progress.seconds))


def measure(
    model: keras.Model, config: TrialConfig, store: TokenStore, plan: ExecutionPlan
) -> tuple[dict[str, float], NDArray[np.int64], NDArray[np.float32]]:
    """Returns loss and accuracy of a trained model on its validation part, the part's rows, and the probabilities."""
    split = store.split(config.data)
    _, validation = parts(config, store, split, plan)
    metrics, probabilities = Network(model, None, config, store.task, plan).measure(validation, lambda: None)
    return metrics, split.validation, probabilities


class Network:
    """The steps of one model, traced."""

    def __init__(
        self, model: keras.Model, optimizer: Any, config: TrialConfig, task: Task, plan: ExecutionPlan
    ) -> None:
        self._logits = _logits(model, config, task, plan)
        self._binary = task.binary
        self._loss = _LOSSES[task.loss](from_logits=True, reduction=None)
        self._activation = keras.activations.get(task.activation)
        self._totals = [tf.Variable(0.0), tf.Variable(0.0), tf.Variable(0.0)]
        weights = model.trainable_variables
        signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]

        @tf.function(input_signature=signature, autograph=False, jit_compile=plan.jit)  # type: ignore[untyped-decorator]
        def step(tokens: Any, labels: Any) -> None:
            with tf.GradientTape() as tape:
                logits = self._logits(tokens, training=True)
                losses = self._losses(labels, logits)
                loss = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(loss, weights), weights)
            self._count(losses, self._correct(labels, logits))

        @tf.function(input_signature=signature, autograph=False, jit_compile=plan.jit)  # type: ignore[untyped-decorator]
        def measure(tokens: Any, labels: Any) -> Any:
            logits = self._logits(tokens, training=False)
            self._count(self._losses(labels, logits), self._correct(labels, logits))
            return self._activation(logits)

        self._step, self._measure = step, measure

    def _losses(self, labels: Any, logits: Any) -> Any:
        """Returns each review's loss, (B,)."""
        return self._loss(tf.cast(labels[:, None], logits.dtype) if self._binary else labels, logits)

    def _correct(self, labels: Any, logits: Any) -> Any:
        """Returns whether each review is classified rightly, (B,)."""
        guess = tf.cast(logits[:, 0] > 0, tf.int32) if self._binary else tf.argmax(logits, -1, output_type=tf.int32)
        return tf.cast(guess == labels, tf.float32)

    def _count(self, losses: Any, correct: Any) -> None:
        n_reviews, loss, right = self._totals
        n_reviews.assign_add(tf.cast(tf.shape(losses)[0], tf.float32))
        loss.assign_add(tf.reduce_sum(losses))
        right.assign_add(tf.reduce_sum(correct))

    def _read_totals(self) -> dict[str, float]:
        n_reviews, loss, right = (float(total) for total in self._totals)
        for total in self._totals:
            total.assign(0.0)
        return {"loss": loss / n_reviews, "accuracy": right / n_reviews}

    def train(self, batches: Any, beat: Heartbeat) -> dict[str, float]:
        """Trains on every batch; returns the mean loss and accuracy while it did."""
        for batch in batches:
            self._step(tf.constant(batch.tokens), tf.constant(batch.labels))
            beat()
        return self._read_totals()

    def measure(self, part: Batches, beat: Heartbeat) -> tuple[dict[str, float], NDArray[np.float32]]:
        """Returns loss and accuracy on a part, and its probabilities, (n, C) or (n, 1), in the order of its rows."""
        rows, found = [], []
        batch: Batch
        for batch in part.in_order():
            found.append(self._measure(tf.constant(batch.tokens), tf.constant(batch.labels)).numpy())
            rows.append(batch.rows)
            beat()
        order = np.argsort(np.concatenate(rows), kind="stable")
        return self._read_totals(), np.concatenate(found)[order]


def _logits(model: keras.Model, config: TrialConfig, task: Task, plan: ExecutionPlan) -> Callable[..., Any]:
    """Returns the function from tokens to logits that the plan names."""
    if plan.kernel == "stock":
        return cast(Callable[..., Any], logits_of(model))
    return compiled.logits(model, config, task.n_outputs, plan.threads)


def parts(config: TrialConfig, store: TokenStore, split: Split, plan: ExecutionPlan) -> tuple[Batches, Batches]:
    """Returns the training part and the validation part, as the plan batches them."""

    def part(rows: NDArray[np.int64], batch_size: int) -> Batches:
        data = config.data
        return Batches(store, rows, data.vocab_size, data.maxlen, batch_size, data.padding, plan.bucket_lengths)

    return part(split.train, config.train.batch_size), part(split.validation, plan.eval_batch_size)


def _restored(folder: TrialFolder, model: Any, optimizer: Any) -> tuple[list[dict[str, float]], float] | None:
    """Goes back to the last epoch's end; without the best epoch's files that is not possible."""
    if not folder.state.exists():
        return None
    for path in (folder.best, folder.held_out):
        fault = disk.zip_fault(path)
        if fault:
            print(f"{path.name} is damaged ({fault}); beginning with epoch 1")  # noqa: T201 - goes to the trial's log
            return None
    return checkpoint.restore(folder.state, model, optimizer)


def _epoch_ended(progress: Progress, seconds: float, said: list[EpochEnded]) -> EpochEnded:
    """Returns the event of the last epoch: the one that an earlier attempt said already, where nothing differs."""
    metrics = progress.curve[-1]
    for event in said:
        if event.epoch == progress.epoch and event.metrics == metrics:
            return event
    return EpochEnded(time.time(), progress.epoch, metrics, seconds, progress.best_epoch, progress.best_value)


def _keep_best(model: Any, folder: TrialFolder, rows: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
    """Saves the model, without its optimizer, and what it says of the validation part."""
    with disk.replacing(folder.best) as beside:
        model.save(beside)
    keep_held_out(folder, rows, probabilities)


def keep_held_out(folder: TrialFolder, rows: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
    """Saves what the best model says of the validation part."""
    with disk.replacing(folder.held_out) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, rows=rows, probabilities=probabilities)


def _about(store: TokenStore, split: Split, config: TrialConfig) -> dict[str, Any]:
    """What a run is labelled with: two runs with the same digests used the same rows."""
    return {
        "name": store.name,
        "digest": store.digest,
        "split": split.digest,
        "labels": list(store.labels),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": store.n_test,
        "source": config.data.path or config.data.name,
    }
