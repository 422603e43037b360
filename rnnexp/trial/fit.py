"""Trains one trial from its settings to its best model: data, network, epochs, and a report after each epoch.

It knows nothing of processes: the caller gets each event and answers whether training continues.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.data.batches import Batch, Batches, words_for_unknown
from rnnexp.data.splits import Split
from rnnexp.data.store import TokenStore
from rnnexp.data.task import Task
from rnnexp.home import TrialFolder
from rnnexp.model import compiled
from rnnexp.model.build import build, logits_of
from rnnexp.model.clipping import optimizer as build_optimizer
from rnnexp.model.kernel.team import Team
from rnnexp.model.precision import computing_in
from rnnexp.trial import checkpoint, data_record, events
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import DIVERGED, STOPPED_BY_HAND, EndReason, EpochEnded, Event, Failed, Finished, Started
from rnnexp.trial.plan import ExecutionPlan
from rnnexp.trial.progress import Progress, finite
from rnnexp.trial.usage import ResourceUsage

_LOSSES = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
}

Report = Callable[[Event], Answer]
"""Reports an event; returns what the trial does next."""

Heartbeat = Callable[[], bool]
"""Is called after every batch and shows that the trial is alive; returns False if the user stops the trial."""


def fit(
    config: TrialConfig,
    store: TokenStore,
    folder: TrialFolder,
    plan: ExecutionPlan,
    attempt: int,
    report: Report,
    heartbeat: Heartbeat,
    team: Team | None = None,
) -> None:
    """Trains one trial. Resumes from the checkpoint in the folder, if there is one.

    Args:
        config: all settings.
        store: the data of the settings.
        folder: gets the checkpoint, the best model and its probabilities on the validation part.
        plan: how to compute.
        attempt: from 1.
        report: gets every event in order; its result for `EpochEnded` decides whether training continues.
        heartbeat: is called after every batch of training and evaluation; its result decides whether the trial ends
            at once.
        team: the threads of the compiled layers; their number may be changed in a report or a heartbeat.
    """
    keras.utils.set_random_seed(config.train.seed)
    split, task = store.split(config.data), store.task
    model = build(config, task.n_outputs, task.activation)
    optimizer = build_optimizer(config.train, config.clip)
    optimizer.build(model.trainable_variables)
    network = Network(model, optimizer, config, task, plan, team)
    train, validation = parts(config, store, split, plan)

    progress = Progress(config.train)
    restored = _restore(folder, model, optimizer)
    if restored is not None:
        progress.curve, progress.seconds = restored
    n_params = int(sum(np.prod(variable.shape) for variable in model.trainable_variables))
    history = events.read(folder.events)
    reported = events.epochs(history)
    last_reported = reported[-1].epoch if reported else 0
    data = data_record.describe(store, split, config)
    report(Started(time.time(), attempt, progress.epoch, os.getpid(), n_params, data, asdict(plan)))
    former = next((event for event in reversed(history) if isinstance(event, Finished)), None)
    if former is not None and progress.epoch == last_reported:
        # The trial had finished, but the supervisor was interrupted before it recorded that. The result stays the same.
        report(former)
        return
    training = _Training(
        model, optimizer, network, train, validation, split.validation, folder, progress, reported, report, heartbeat
    )
    end = training.run(
        # A former result whose model was lost: the same epochs are trained again, to the same result.
        last_epoch=config.train.epochs if former is None else last_reported,
        first_end=max(last_reported, checkpoint.model_epoch(folder) if restored is not None else 0),
    )
    if end is None:
        report(events.Paused(time.time(), progress.epoch))
        return
    ended, reason = end
    if former is not None and progress.epoch == last_reported:
        ended, reason = former.ended, former.reason
    if progress.epoch:
        metrics = progress.best_metrics
        report(Finished(time.time(), ended, progress.best_epoch, metrics, n_params, progress.seconds, reason))
    else:
        report(Failed(time.time(), ended, reason))


class _Stopped(Exception):
    """The trial has to end before the epoch is complete."""


@dataclass
class _Training:
    """The epochs of one attempt.

    Attributes:
        rows: the rows of the validation part.
        reported: the epochs that earlier attempts reported.
    """

    model: keras.Model
    optimizer: Any
    network: "Network"
    train: Batches
    validation: Batches
    rows: NDArray[np.int64]
    folder: TrialFolder
    progress: Progress
    reported: list[EpochEnded]
    report: Report
    heartbeat: Heartbeat
    usage: ResourceUsage = field(default_factory=ResourceUsage)

    def run(self, last_epoch: int, first_end: int) -> tuple[EndReason, str] | None:
        """Trains until the trial ends.

        Args:
            last_epoch: the number of epochs to train.
            first_end: the trial ends after this epoch, not earlier, whatever the answers are: epochs that are trained
                again must reach the last reported one, and the one whose model is on the disk.

        Returns:
            Why it ended, and a reason for the user, which is empty if the end is a normal one; None if it is paused.
        """
        progress = self.progress
        # Reported again: the supervisor may have missed the event, or its answer may have been lost.
        answer = self.report(self._epoch_ended(0.0)) if progress.epoch else Answer.CONTINUE
        while progress.epoch < last_epoch and not progress.out_of_patience:
            if answer is not Answer.CONTINUE and progress.epoch >= first_end:
                break
            try:
                seconds = self._train_epoch(may_stop=progress.epoch >= first_end)
            except _Stopped:
                return "stopped", STOPPED_BY_HAND
            if progress.diverged:
                return "diverged", self._discard_diverged_epoch()
            checkpoint.save(self.folder.state, self.model, self.optimizer, progress.curve, progress.seconds)
            answer = self.report(self._epoch_ended(seconds))
        if answer is Answer.PAUSE and progress.epoch < last_epoch and not progress.out_of_patience:
            return None
        if answer is Answer.END:
            return ("pruned", "") if self.heartbeat() else ("stopped", STOPPED_BY_HAND)
        return ("epochs" if progress.epoch >= progress.train.epochs else "patience"), ""

    def _train_epoch(self, *, may_stop: bool) -> float:
        """Trains and evaluates one epoch, and saves the model if it is the best; returns the time of the epoch."""
        start, progress = time.monotonic(), self.progress

        def heartbeat() -> None:
            if not self.heartbeat() and may_stop:
                raise _Stopped

        metrics = self.network.train(self.train.shuffled(progress.train.seed, progress.epoch), heartbeat)
        with self.usage.of_texts(len(self.rows)):
            val_metrics, probabilities = self.network.evaluate(self.validation, heartbeat)
        metrics |= {f"val_{name}": value for name, value in val_metrics.items()}
        progress.curve.append(metrics | finite(self.optimizer.read_clipping()))
        if not progress.diverged and progress.best_epoch == progress.epoch:
            self._save_best(probabilities)
        seconds = time.monotonic() - start
        progress.seconds += seconds
        return seconds

    def _discard_diverged_epoch(self) -> str:
        """Removes the last epoch from the curve; returns the reason of the trial's end."""
        progress = self.progress
        reason = f"{DIVERGED} at epoch {progress.epoch}: {progress.diverged}"
        progress.curve.pop()
        return f"{reason}; the result is epoch {progress.best_epoch}" if progress.curve else reason

    def _epoch_ended(self, seconds: float) -> EpochEnded:
        """Returns the event of the last epoch: that of an earlier attempt if its metrics are the same."""
        progress = self.progress
        metrics = progress.curve[-1]
        for event in self.reported:
            if event.epoch == progress.epoch and event.metrics == metrics:
                return event
        best, measured = (progress.best_epoch, progress.best_value), self.usage.since_last()
        return EpochEnded(time.time(), progress.epoch, metrics, seconds, *best, measured)

    def _save_best(self, probabilities: NDArray[np.float32]) -> None:
        """Saves the probabilities on the validation part, then the model without its optimizer.

        The probabilities come first, because their file names the epoch: if the process is killed before the next
        checkpoint, the next attempt knows that the model may be of a later epoch than its checkpoint.
        """
        save_held_out(self.folder, self.rows, probabilities, self.progress.epoch)
        with disk.replacing(self.folder.best) as temporary:
            self.model.save(temporary)


def evaluate(
    model: keras.Model, config: TrialConfig, store: TokenStore, plan: ExecutionPlan, rows: NDArray[np.int64]
) -> tuple[dict[str, float], NDArray[np.float32]]:
    """Returns loss and accuracy of a trained model on some rows, and its probabilities in their order."""
    part = _part(config, store, rows, plan.eval_batch_size, plan)
    return Network(model, None, config, store.task, plan).evaluate(part, lambda: None)


class Network:
    """The steps of one model as TensorFlow functions."""

    def __init__(
        self,
        model: keras.Model,
        optimizer: Any,
        config: TrialConfig,
        task: Task,
        plan: ExecutionPlan,
        team: Team | None = None,
    ) -> None:
        self._logits = _logits(model, config, task, plan, team)
        self._binary = task.binary
        self._loss = _LOSSES[task.loss](from_logits=True, reduction=None)
        self._activation = keras.activations.get(task.activation)
        self._totals = [tf.Variable(0.0), tf.Variable(0.0), tf.Variable(0.0)]
        weights = model.trainable_variables
        signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def step(tokens: Any, labels: Any) -> None:
            with tf.GradientTape() as tape:
                with computing_in(config.train.precision, model):
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

    def train(self, batches: Any, heartbeat: Callable[[], None]) -> dict[str, float]:
        """Trains on every batch; returns the mean loss and accuracy during training."""
        for batch in batches:
            self._train_step(tf.constant(batch.tokens), tf.constant(batch.labels))
            heartbeat()
        return self._read_totals()

    def evaluate(self, part: Batches, heartbeat: Callable[[], None]) -> tuple[dict[str, float], NDArray[np.float32]]:
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


def _logits(
    model: keras.Model, config: TrialConfig, task: Task, plan: ExecutionPlan, team: Team | None
) -> Callable[..., Any]:
    """Returns the function from tokens to logits, in the implementation that the plan names."""
    if plan.kernel == "stock":
        return cast(Callable[..., Any], logits_of(model))
    return compiled.logits(model, config, task.n_outputs, team)


def parts(config: TrialConfig, store: TokenStore, split: Split, plan: ExecutionPlan) -> tuple[Batches, Batches]:
    """Returns the batches of the training part and of the validation part."""
    train = _part(config, store, split.train, config.train.batch_size, plan)
    train = replace(train, rare_words=words_for_unknown(store, split.train, config.data.vocab_size))
    return train, _part(config, store, split.validation, plan.eval_batch_size, plan)


def _part(
    config: TrialConfig, store: TokenStore, rows: NDArray[np.int64], batch_size: int, plan: ExecutionPlan
) -> Batches:
    data = config.data
    return Batches(store, rows, data.vocab_size, data.maxlen, batch_size, data.padding, plan.bucket_lengths)


def _restore(folder: TrialFolder, model: Any, optimizer: Any) -> tuple[list[dict[str, float]], float] | None:
    """Restores the end of the last epoch, if the checkpoint and the files of the best epoch are intact.

    Else the checkpoint is removed. It must not be restored later together with the model of another epoch.
    """
    if not folder.state.exists():
        return None
    fault = checkpoint.model_fault(folder)
    if fault:
        print(f"{fault}; starting again from epoch 1")  # noqa: T201 - goes to the trial's log
    restored = None if fault else checkpoint.restore(folder.state, model, optimizer)
    if restored is None:
        folder.state.unlink(missing_ok=True)
    return restored


def save_held_out(folder: TrialFolder, rows: NDArray[np.int64], probabilities: NDArray[np.float32], epoch: int) -> None:
    """Saves the probabilities of the best model on the validation part, and the epoch of the model."""
    with disk.replacing(folder.held_out) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, rows=rows, probabilities=probabilities, epoch=np.array(epoch))
