"""Trains one trial from its settings to its best model: data, network, epochs, and a report after each epoch.

It knows nothing of processes: the caller gets each event and answers whether training continues.
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

Report = Callable[[Event], bool]
"""Reports an event; returns False if the trial has to end now."""

Heartbeat = Callable[[], None]
"""Is called after every batch; shows that the trial is alive."""


def fit(
    config: TrialConfig,
    store: TokenStore,
    folder: TrialFolder,
    plan: ExecutionPlan,
    attempt: int,
    report: Report,
    heartbeat: Heartbeat,
) -> None:
    """Trains one trial. Resumes from the checkpoint in the folder, if there is one.

    Args:
        config: all settings.
        store: the data of the settings.
        folder: gets the checkpoint, the best model and its probabilities on the validation part.
        plan: how to compute.
        attempt: from 1.
        report: gets every event in order; its result for `EpochEnded` decides whether training continues.
        heartbeat: is called after every batch of training and evaluation.
    """
    keras.utils.set_random_seed(config.train.seed)
    split, task = store.split(config.data), store.task
    model = build(config, task.n_outputs, task.activation)
    optimizer = build_optimizer(config.train, config.clip)
    optimizer.build(model.trainable_variables)
    network = Network(model, optimizer, config, task, plan)
    train, validation = parts(config, store, split, plan)

    progress = Progress(config.train)
    restored = _restore(folder, model, optimizer)
    if restored is not None:
        progress.curve, progress.seconds = restored
    n_params = int(sum(np.prod(variable.shape) for variable in model.trainable_variables))
    history = events.read(folder.events)
    reported = events.epochs(history)
    data = _describe_data(store, split, config)
    report(Started(time.time(), attempt, progress.epoch, os.getpid(), n_params, data, asdict(plan)))
    results = [event for event in history if isinstance(event, Finished)]
    if results:
        # The trial had finished, but the supervisor was interrupted before it recorded that. The result stays the same.
        report(results[-1])
        return
    ended: EndReason = "epochs"
    if progress.epoch:
        # Reported again: the supervisor may have missed the event, or its answer may have been lost.
        ended = "epochs" if report(_epoch_ended(progress, 0.0, reported)) else "pruned"
    while ended != "pruned" and progress.epoch < config.train.epochs and not progress.out_of_patience:
        start = time.monotonic()
        metrics = network.train(train.shuffled(config.train.seed, progress.epoch), heartbeat)
        val_metrics, probabilities = network.evaluate(validation, heartbeat)
        metrics |= {f"val_{name}": value for name, value in val_metrics.items()}
        progress.curve.append(metrics | optimizer.read_clipping())
        if progress.diverged:
            report(Failed(time.time(), "diverged", f"epoch {progress.epoch}: {progress.diverged}"))
            return
        if progress.best_epoch == progress.epoch:
            _save_best(model, folder, split.validation, probabilities)
        seconds = time.monotonic() - start
        progress.seconds += seconds
        checkpoint.save(folder.state, model, optimizer, progress.curve, progress.seconds)
        if not report(_epoch_ended(progress, seconds, reported)):
            ended = "pruned"
            break
    if ended != "pruned" and progress.out_of_patience and progress.epoch < config.train.epochs:
        ended = "patience"
    report(Finished(time.time(), ended, progress.best_epoch, progress.best_metrics, n_params, progress.seconds))


def evaluate(
    model: keras.Model, config: TrialConfig, store: TokenStore, plan: ExecutionPlan
) -> tuple[dict[str, float], NDArray[np.int64], NDArray[np.float32]]:
    """Returns loss and accuracy of a trained model on its validation part, the part's rows, and the probabilities."""
    split = store.split(config.data)
    _, validation = parts(config, store, split, plan)
    metrics, probabilities = Network(model, None, config, store.task, plan).evaluate(validation, lambda: None)
    return metrics, split.validation, probabilities


class Network:
    """The steps of one model as TensorFlow functions."""

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

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def step(tokens: Any, labels: Any) -> None:
            with tf.GradientTape() as tape:
                logits = self._logits(tokens, training=True)
                losses = self._losses(labels, logits)
                loss = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(loss, weights), weights)
            self._count(losses, self._correct(labels, logits))

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def measure(tokens: Any, labels: Any) -> Any:
            logits = self._logits(tokens, training=False)
            self._count(self._losses(labels, logits), self._correct(labels, logits))
            return self._activation(logits)

        self._train_step, self._evaluation_step = step, measure

    def _losses(self, labels: Any, logits: Any) -> Any:
        """Returns the loss of each text, (B,)."""
        return self._loss(tf.cast(labels[:, None], logits.dtype) if self._binary else labels, logits)

    def _correct(self, labels: Any, logits: Any) -> Any:
        """Returns whether each text is classified correctly, (B,)."""
        predicted = tf.cast(logits[:, 0] > 0, tf.int32) if self._binary else tf.argmax(logits, -1, output_type=tf.int32)
        return tf.cast(predicted == labels, tf.float32)

    def _count(self, losses: Any, correct: Any) -> None:
        n_texts, loss, n_correct = self._totals
        n_texts.assign_add(tf.cast(tf.shape(losses)[0], tf.float32))
        loss.assign_add(tf.reduce_sum(losses))
        n_correct.assign_add(tf.reduce_sum(correct))

    def _read_totals(self) -> dict[str, float]:
        n_texts, loss, n_correct = (float(total) for total in self._totals)
        for total in self._totals:
            total.assign(0.0)
        return {"loss": loss / n_texts, "accuracy": n_correct / n_texts}

    def train(self, batches: Any, heartbeat: Heartbeat) -> dict[str, float]:
        """Trains on every batch; returns the mean loss and accuracy during training."""
        for batch in batches:
            self._train_step(tf.constant(batch.tokens), tf.constant(batch.labels))
            heartbeat()
        return self._read_totals()

    def evaluate(self, part: Batches, heartbeat: Heartbeat) -> tuple[dict[str, float], NDArray[np.float32]]:
        """Returns loss and accuracy on a part, and its probabilities (n, C) or (n, 1) in the order of its rows."""
        rows, probabilities = [], []
        batch: Batch
        for batch in part.in_order():
            outputs = self._evaluation_step(tf.constant(batch.tokens), tf.constant(batch.labels))
            probabilities.append(outputs.numpy())
            rows.append(batch.rows)
            heartbeat()
        order = np.argsort(np.concatenate(rows), kind="stable")
        return self._read_totals(), np.concatenate(probabilities)[order]


def _logits(model: keras.Model, config: TrialConfig, task: Task, plan: ExecutionPlan) -> Callable[..., Any]:
    """Returns the function from tokens to logits, in the implementation that the plan names."""
    if plan.kernel == "stock":
        return cast(Callable[..., Any], logits_of(model))
    return compiled.logits(model, config, task.n_outputs, plan.threads)


def parts(config: TrialConfig, store: TokenStore, split: Split, plan: ExecutionPlan) -> tuple[Batches, Batches]:
    """Returns the batches of the training part and of the validation part."""

    def part(rows: NDArray[np.int64], batch_size: int) -> Batches:
        data = config.data
        return Batches(store, rows, data.vocab_size, data.maxlen, batch_size, data.padding, plan.bucket_lengths)

    return part(split.train, config.train.batch_size), part(split.validation, plan.eval_batch_size)


def _restore(folder: TrialFolder, model: Any, optimizer: Any) -> tuple[list[dict[str, float]], float] | None:
    """Restores the end of the last epoch, if the checkpoint and the files of the best epoch are intact."""
    if not folder.state.exists():
        return None
    for path in (folder.best, folder.held_out):
        try:
            fault = disk.zip_fault(path)
        except OSError as error:
            fault = str(error)
        if fault:
            print(f"{path.name} is damaged ({fault}); starting again from epoch 1")  # noqa: T201 - goes to the trial's log
            return None
    return checkpoint.restore(folder.state, model, optimizer)


def _epoch_ended(progress: Progress, seconds: float, reported: list[EpochEnded]) -> EpochEnded:
    """Returns the event of the last epoch: that of an earlier attempt if its metrics are the same."""
    metrics = progress.curve[-1]
    for event in reported:
        if event.epoch == progress.epoch and event.metrics == metrics:
            return event
    return EpochEnded(time.time(), progress.epoch, metrics, seconds, progress.best_epoch, progress.best_value)


def _save_best(model: Any, folder: TrialFolder, rows: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
    """Saves the model without its optimizer, and its probabilities on the validation part."""
    with disk.replacing(folder.best) as temporary:
        model.save(temporary)
    save_held_out(folder, rows, probabilities)


def save_held_out(folder: TrialFolder, rows: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
    """Saves the probabilities of the best model on the validation part."""
    with disk.replacing(folder.held_out) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, rows=rows, probabilities=probabilities)


def _describe_data(store: TokenStore, split: Split, config: TrialConfig) -> dict[str, Any]:
    """Returns the description of the data in a run; two runs with the same digests used the same rows."""
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
